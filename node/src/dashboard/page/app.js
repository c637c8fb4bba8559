// Reads the node, shows it, and goes on as it changes. Each part stands alone: one that cannot be read says so, and the
// others go on.

import { $, h, replace, clock, lasting, plural } from "./dom.js";
import { read, follow, Refused, Silent } from "./api.js";
import { ask, listenToQuestions, suggest, within } from "./ask.js";
import { showClaims, showUnclaimed } from "./claims.js";
import { addHappening, showHappenings } from "./events.js";
import { heatAsks, showHeat, showServices, shownService } from "./heat.js";
import { listenToKeys } from "./keys.js";
import { showMap, watchSize } from "./map.js";
import { Past, showPlots } from "./plots.js";
import { showTiles } from "./tiles.js";

/** Between two readings of one thing, in milliseconds; what changes often and costs little is read more often. */
const EVERY = { status: 2000, map: 2000, heat: 2000, services: 10000, claims: 10000, unclaimed: 10000 };
/** Claims that are listed; more are found by looking for them. */
const MOST_CLAIMS = 200;
const SPAN_KEPT = "nigh-span";

const held = { status: null, map: null, claims: { claims: [] }, unclaimed: [] };
const short = new Past();
const day = new Past();
const readAt = {};
const reading = {};
let serial = -1;
let connected = false;
let lastSample = 0;
let span = Number(localStorage.getItem(SPAN_KEPT)) || 300;

const PARTS = {
  status: { path: () => "/v1/status", into: "tiles", show: (status) => { held.status = status; showNode(status); tiles(); } },
  map: { path: () => "/v1/map", into: "map-body", show: (map) => { held.map = map; showMap(map); suggest(map, held.claims.claims); tiles(); } },
  services: { path: () => "/v1/services", into: "heat-body", show: (services) => { if (showServices(services)) load("heat"); } },
  heat: {
    path: () => shownService() && `/v1/heat?service=${encodeURIComponent(shownService())}`, into: "heat-body",
    show: (heat) => { if (heat.service === shownService()) showHeat(heat); },
  },
  claims: {
    path: () => `/v1/coverage?limit=${MOST_CLAIMS}&find=${encodeURIComponent(looking())}`, into: "claims-body",
    show: (claims) => {
      if (!looking()) { held.claims = claims; if (held.map) suggest(held.map, claims.claims); }
      showClaims(claims, looking());
    },
  },
  unclaimed: { path: () => "/v1/unclaimed", into: "unclaimed-body", show: (lines) => { held.unclaimed = lines; showUnclaimed(lines); } },
};

const looking = () => $("claims-find").value.trim();

async function load(name) {
  const part = PARTS[name];
  const path = part.path();
  if (!path || reading[name] === path) return;
  reading[name] = path;
  try {
    const found = await read(path);
    // What was asked for since is newer.
    if (reading[name] !== path) return;
    readAt[name] = Date.now();
    part.show(found);
  } catch (error) {
    // Of a silent node the banner tells; a refusal belongs to its part; the rest is a fault of the page.
    if (error instanceof Silent) return;
    if (!(error instanceof Refused)) console.error(error);
    else replace($(part.into), h("div", { class: "refused" }, h("p", {}, error.message), error.hint && h("p", { class: "quiet" }, error.hint)));
  } finally {
    if (reading[name] === path) reading[name] = null;
  }
}

const loadAll = () => Object.keys(PARTS).forEach(load);

/** Reads what is old, if anything changed since. */
function refresh(changed) {
  if (document.hidden || !connected) return;
  for (const [name, every] of Object.entries(EVERY)) {
    const age = Date.now() - (readAt[name] ?? 0);
    if (age >= every && (changed || age >= 5 * every)) load(name);
  }
}

function tiles() {
  if (held.status && held.map) showTiles(held.status, held.map, short, held.unclaimed);
}

function showNode(status) {
  const { node, mesh, admission, warnings, catalogue } = status;
  document.title = `${warnings.length ? `(${warnings.length}) ` : ""}${node.name} · nigh`;
  $("node").replaceChildren("seen from ", h("b", {}, node.name));
  const state = node.draining ? "draining" : admission.state === "admitted" ? "" : `${admission.state} to be admitted`;
  $("about").textContent = [node.pop, `up ${lasting(node.uptime_s)}`, `version ${node.version}`, state].filter(Boolean).join(" · ");
  const listed = [[catalogue.zones, "zone"], [catalogue.services, "service"], [catalogue.servers, "server"], [catalogue.records, "record set"]]
    .map(([count, one]) => plural(count, one)).join(", ");
  $("foot").textContent = `Mesh ${mesh.id.slice(0, 12)}… · ${plural(mesh.pages, "page")}, state ${mesh.state_hash.slice(0, 8)} · ${listed}`;
  const box = $("warnings");
  box.hidden = warnings.length === 0;
  if (warnings.length) {
    replace(box, h("h2", {}, warnings.length === 1 ? "Someone should look at this" : `Someone should look at these ${warnings.length}`),
      h("ul", {}, warnings.slice(0, 12).map((text) => h("li", {}, text))), warnings.length > 12 && h("p", {}, `and ${warnings.length - 12} more: nigh status`));
  }
}

function plots() {
  if (document.hidden) return;
  showPlots(span > 1800 ? day : short, span);
}

async function loadHistory() {
  short.load(await read("/v1/history?span=short"));
  if (span > 1800) day.load(await read("/v1/history?span=day"));
  readAt.history = Date.now();
  showHappenings(short.happenings);
  plots();
  tiles();
}

/** Once for each connection; a node that is slow to answer is asked again with the next sample. */
function wantHistory() {
  if (readAt.history || reading.history) return;
  reading.history = true;
  loadHistory().catch((error) => { if (!(error instanceof Silent || error instanceof Refused)) console.error(error); }).finally(() => { reading.history = false; });
}

function setSpan(seconds) {
  span = seconds;
  localStorage.setItem(SPAN_KEPT, String(seconds));
  for (const button of $("spans").children) button.setAttribute("aria-pressed", String(Number(button.dataset.span) === seconds));
}

function pill(kind, words) {
  const box = $("live");
  box.className = `pill ${kind}`;
  if (box.lastElementChild.textContent !== words) box.lastElementChild.textContent = words;
}

const handlers = {
  open() {
    connected = true;
    serial = -1;
    document.body.classList.remove("stale");
    $("lost").hidden = true;
    pill("live", "Live");
    loadAll();
    readAt.history = 0;
    wantHistory();
  },
  lost(why, pause) {
    connected = false;
    document.body.classList.add("stale");
    pill("lost", "Not connected");
    $("lost").hidden = false;
    const since = lastSample ? ` What you see is of ${clock(lastSample)}.` : "";
    $("lost").textContent = `Connection lost: ${why}.${since} Trying again ${pause < 1000 ? "at once" : `every ${Math.round(pause / 1000)} s`}.`;
  },
  sample(sample) {
    lastSample = sample.time_s;
    short.add(sample);
    wantHistory();
    if (span <= 1800) plots();
    else if (Date.now() - (readAt.day ?? 0) > 30000) {
      readAt.day = Date.now();
      read("/v1/history?span=day").then((found) => { day.load(found); plots(); }).catch(() => {});
    }
    tiles();
    refresh(sample.serial !== serial);
    serial = sample.serial;
  },
  happening(happening) {
    short.tell(happening);
    day.tell(happening);
    addHappening(happening);
  },
};

/** From a cell of the heat map: ask as a resolver of that node. */
heatAsks((service, node, address) => {
  const claim = held.claims.claims.find((line) => line.node === node && line.best) ?? held.claims.claims.find((line) => line.node === node);
  ask(service, address.includes(":") ? "AAAA" : "A", claim && within(claim.prefix));
});
$("service").addEventListener("change", () => {
  history.replaceState(null, "", `#${shownService()}`);
  $("ask-name").value = shownService();
  load("heat");
});
let typing = 0;
$("claims-find").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => load("claims"), 250);
});
$("spans").addEventListener("click", (event) => {
  if (!event.target.dataset.span) return;
  setSpan(Number(event.target.dataset.span));
  loadHistory().catch(() => {});
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && connected) { loadAll(); plots(); } });
addEventListener("resize", plots);
setSpan(span);
listenToKeys();
listenToQuestions();
watchSize();
follow(handlers);
