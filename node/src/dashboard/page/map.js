// The mesh: POPs where they are, links between them, and verdicts. One POP is one button; its nodes stand below.

import { $, h, s, replace, empty, code, ms, plural } from "./dom.js";
import { coastPath, project } from "./earth.js";
import { byRoundTrips, among } from "./layout.js";

const WORST = ["alive", "left", "absent", "draining", "dead"];
const SAYS = {
  alive: "in service", draining: "draining: takes no new resolvers", dead: "dead: its watchers hear nothing of it",
  left: "has left", absent: "admitted, has not spoken yet",
};
/** The least part of the world that is shown, so that a mesh of one city has land around it. */
const LEAST_WIDTH = 150;
const EDGE = 46;
/** Where people live, in degrees. */
const [NORTH, SOUTH] = [77, -56];
/** Links that are drawn at once; beyond, only those of the chosen POP. */
const MOST_LINKS = 400;

let mesh = null;
let chosen = null;
let drawn = "";
let coast = null;

/** Draws what was read. */
export function showMap(map) {
  mesh = map;
  draw();
}

export function watchSize() {
  new ResizeObserver(() => { if (mesh) draw(); }).observe($("map-body"));
}

/** Nodes at one place are one POP. */
function sites(nodes) {
  const all = new Map();
  for (const node of nodes) {
    const key = node.pop || node.name;
    const site = all.get(key) ?? { key, nodes: [], location: null };
    site.nodes.push(node);
    site.location ??= node.location;
    all.set(key, site);
  }
  return [...all.values()].map((site) => {
    const verdict = site.nodes.map((node) => node.verdict).sort((a, b) => WORST.indexOf(b) - WORST.indexOf(a))[0];
    return { ...site, verdict, self: site.nodes.some((node) => node.self) };
  });
}

function trips(all) {
  const siteOf = new Map(all.flatMap((site, at) => site.nodes.map((node) => [node.name, at])));
  const pairs = new Map();
  for (const { a, b, rtt_ms: rtt } of mesh.links) {
    const [x, y] = [siteOf.get(a), siteOf.get(b)];
    if (x === undefined || y === undefined || x === y) continue;
    const key = x < y ? `${x} ${y}` : `${y} ${x}`;
    const held = pairs.get(key);
    if (!held || held[2] > rtt) pairs.set(key, [Math.min(x, y), Math.max(x, y), rtt]);
  }
  return [...pairs.values()];
}

/** Where each stands, in pixels, and what lies below. */
function place(all, links, width) {
  const located = all.filter((site) => site.location);
  if (located.length * 2 < all.length || located.length === 0) return byTime(all, links, width);
  const world = all.map((site) => site.location && project(...site.location));
  const points = world.map((point, at) => point ?? among(
    links.filter(([a, b]) => a === at || b === at)
      .map(([a, b, rtt]) => [world[a === at ? b : a], rtt])
      .filter(([other]) => other),
  ));
  const known = points.filter(Boolean);
  const [xs, ys] = [known.map(([x]) => x), known.map(([, y]) => y)];
  const wide = Math.max(LEAST_WIDTH, (Math.max(...xs) - Math.min(...xs)) * 1.25 + 40, (Math.max(...ys) - Math.min(...ys)) * 2.6);
  const whole = wide > 560;
  const span = whole ? 1000 : wide;
  const scale = (width - (whole ? 8 : 0)) / span;
  const [north, south] = [project(NORTH, 0)[1], project(SOUTH, 0)[1]];
  const height = Math.round(whole ? (south - north) * scale : width * (width < 560 ? 0.6 : 0.46));
  // A map of the world shows its inhabited part; another one its middle.
  const left = whole ? -4 / scale : (Math.max(...xs) + Math.min(...xs)) / 2 - span / 2;
  const top = whole ? north : (Math.max(...ys) + Math.min(...ys)) / 2 - height / scale / 2;
  return {
    height, earth: { scale, left, top }, wrap: whole ? 1000 * scale : Infinity,
    points: points.map((point, at) => (point
      ? { x: (point[0] - left) * scale, y: (point[1] - top) * scale, guessed: !world[at] }
      : { x: EDGE + (at % 8) * 70, y: height - EDGE / 2, guessed: true })),
  };
}

function byTime(all, links, width) {
  const height = Math.round(Math.min(width * (width < 560 ? 0.9 : 0.5), 560));
  const [rx, ry] = [width / 2 - EDGE * 1.6, height / 2 - EDGE];
  const unit = Math.min(rx, ry);
  return {
    height, earth: null, wrap: Infinity,
    points: (all.length === 1 ? [[0, 0]] : byRoundTrips(all.length, links))
      .map(([x, y]) => ({ x: width / 2 + x * Math.min(rx, unit * 1.7), y: height / 2 + y * unit, guessed: false })),
  };
}

function draw() {
  const body = $("map-body");
  const all = sites(mesh.nodes).sort((a, b) => a.key.localeCompare(b.key));
  const width = Math.max(280, body.clientWidth);
  // What has not changed is not drawn again: a focus, a pointer or a finger may rest on it.
  const now = JSON.stringify([mesh, chosen, width]);
  if (now === drawn) return;
  drawn = now;
  body.removeAttribute("aria-busy");
  note(all);
  if (chosen && !all.some((site) => site.key === chosen)) chosen = null;
  if (all.length === 0) {
    replace(body, empty("This node has not found itself in the mesh yet.", "It may be waiting to be admitted: nigh status says."));
    return;
  }
  const links = trips(all);
  const { height, earth, wrap, points } = place(all, links, width);
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Map of ${plural(all.length, "POP")}` });
  if (earth) {
    coast ??= coastPath();
    const { scale, left, top } = earth;
    svg.append(s("path", { class: "coast", d: coast, transform: `scale(${scale}) translate(${-left} ${-top})` }));
  }
  svg.append(...linkLines(all, links, points, wrap));
  svg.append(...popMarks(all, points, width, height));
  replace(body, svg);
  if (all.length === 1 && mesh.nodes.length === 1) {
    body.append(h("p", { class: "empty" }, "This node is alone. Admit another one with ", code("nigh admit"), ", and it appears here."));
  }
  detail(all, links);
}

function note(all) {
  const alive = mesh.nodes.filter((node) => node.verdict === "alive").length;
  const rtts = mesh.links.map((link) => link.rtt_ms);
  const words = [`${alive} of ${plural(mesh.nodes.length, "node")} alive`, plural(all.length, "POP")];
  if (rtts.length) words.push(`${plural(rtts.length, "link")}, ${ms(Math.min(...rtts))} to ${ms(Math.max(...rtts))}`);
  if (!all.some((site) => site.location) && all.length > 1) words.push("laid out by round-trip time");
  if (mesh.left_out) words.push(`${mesh.left_out} more are not drawn`);
  $("map-note").textContent = words.join(" · ");
}

function linkLines(all, links, points, wrap) {
  const at = all.findIndex((site) => site.key === chosen);
  const shown = links.length > MOST_LINKS ? links.filter(([a, b]) => a === at || b === at || all[a].self || all[b].self) : links;
  return shown.flatMap(([a, b, rtt]) => {
    const broken = [all[a], all[b]].some((site) => site.nodes.every((node) => !["alive", "draining"].includes(node.verdict)));
    const mine = all[a].self || all[b].self;
    const isChosen = a === at || b === at;
    const kind = `link${mine ? " own" : ""}${broken ? " broken" : ""}${at >= 0 ? (isChosen ? " shown" : " dim") : ""}`;
    const ways = arcs(points[a], points[b], wrap);
    const lines = ways.map(({ d }) => s("path", { class: kind, d }));
    lines[0].append(s("title", {}, `${all[a].key} – ${all[b].key}: ${ms(rtt)}`));
    if (isChosen) lines.push(s("text", { class: "rtt", x: ways[0].x, y: ways[0].y, "text-anchor": "middle" }, ms(rtt)));
    return lines;
  });
}

/** A line that bends a little; one that is shorter over the edge of the map leaves there and comes back. */
function arcs(a, b, wrap) {
  const bow = (from, to) => {
    const [dx, dy] = [to.x - from.x, to.y - from.y];
    const lift = Math.min(60, Math.hypot(dx, dy) * 0.16);
    const [cx, cy] = [(from.x + to.x) / 2, (from.y + to.y) / 2 - lift];
    return { d: `M${from.x} ${from.y}Q${cx} ${cy} ${to.x} ${to.y}`, x: cx, y: cy + lift / 2 - 5 };
  };
  const dx = b.x - a.x;
  if (Math.abs(dx) <= wrap / 2) return [bow(a, b)];
  const shift = dx > 0 ? -wrap : wrap;
  const first = bow(a, { x: b.x + shift, y: b.y });
  return [{ ...first, x: a.x + Math.sign(shift) * 34, y: a.y - 12 }, bow({ x: a.x - shift, y: a.y }, b)];
}

function popMarks(all, points, width, height) {
  const taken = points.map(({ x, y }) => [x - 8, y - 8, x + 8, y + 8]);
  const narrow = width < 560;
  return all.map((site, at) => {
    const { x, y, guessed } = points[at];
    const many = site.nodes.length > 1;
    const title = many ? site.key : site.nodes[0].name;
    const away = site.nodes.filter((node) => node.verdict !== "alive");
    const sub = many ? `${site.nodes.length} nodes${away.length ? `, ${away.length} not alive` : ""}` : (site.key !== title ? site.key : "");
    const label = labelPlace(x, y, Math.max(title.length * 8.4, narrow ? 0 : sub.length * 6.2) + 4, narrow ? 16 : 30, taken, width, height);
    const group = s("g", {
      class: `pop ${site.verdict}${guessed ? " guessed" : ""}${site.key === chosen ? " chosen" : ""}`,
      role: "button", tabindex: "0", "data-key": `pop ${site.key}`, "aria-pressed": String(site.key === chosen),
      "aria-label": `${title}${sub ? `, ${sub}` : ""}: ${SAYS[site.verdict]}${site.self ? ", this node" : ""}${guessed ? ", place estimated from round trips" : ""}`,
      onclick: () => choose(site.key),
      onkeydown: (event) => keyOn(event, site.key),
    });
    group.append(s("circle", { class: "halo", cx: x, cy: y, r: 15 }));
    if (site.self) group.append(s("circle", { class: "self", cx: x, cy: y, r: 10.5 }));
    group.append(s("circle", { class: "dot", cx: x, cy: y, r: many ? 8 : 6.5 }));
    if (site.verdict === "dead") group.append(s("path", { class: "cross", d: `M${x - 3} ${y - 3}l6 6m0-6l-6 6` }));
    group.append(s("text", { x: label.x, y: label.y, "text-anchor": label.anchor }, title,
      !narrow && sub && s("tspan", { class: "sub", x: label.x, dy: "1.2em" }, sub)));
    return group;
  });
}

/** The first of four places around a point where a label meets no other. */
function labelPlace(x, y, wide, high, taken, width, height) {
  const places = [
    { anchor: "start", x: x + 13, y: y + 1, box: [x + 13, y - 12, x + 13 + wide, y - 12 + high] },
    { anchor: "end", x: x - 13, y: y + 1, box: [x - 13 - wide, y - 12, x - 13, y - 12 + high] },
    { anchor: "middle", x, y: y + 26, box: [x - wide / 2, y + 14, x + wide / 2, y + 14 + high] },
    { anchor: "middle", x, y: y - high + 2, box: [x - wide / 2, y - 14 - high, x + wide / 2, y - 14] },
  ];
  const hits = ([l, t, r, b]) => l < 0 || t < 0 || r > width || b > height
    || taken.some(([tl, tt, tr, tb]) => l < tr && r > tl && t < tb && b > tt);
  const found = places.find((option) => !hits(option.box)) ?? places[0];
  taken.push(found.box);
  return found;
}

function choose(key) {
  chosen = chosen === key ? null : key;
  draw();
}

function keyOn(event, key) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (event.key === "Enter" || event.key === " ") choose(key);
  else if (event.key === "Escape" && chosen) choose(chosen);
  else if (step) {
    const pops = [...$("map-body").querySelectorAll(".pop")];
    const at = pops.indexOf(event.currentTarget);
    pops[(at + step + pops.length) % pops.length].focus();
  } else return;
  event.preventDefault();
}

const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

/** All about the chosen POP. */
function detail(all, links) {
  const at = all.findIndex((site) => site.key === chosen);
  const box = $("map-detail");
  box.hidden = at < 0;
  if (at < 0) return;
  const site = all[at];
  const near = links.filter(([a, b]) => a === at || b === at).sort((a, b) => a[2] - b[2])
    .slice(0, 8).map(([a, b, rtt]) => `${all[a === at ? b : a].key} ${ms(rtt)}`);
  const nodes = site.nodes.slice(0, 12).map((node) => h("dl", { class: "facts" },
    fact("Node", h("span", { class: `badge ${node.verdict}` }, node.name)),
    fact("State", SAYS[node.verdict] + (node.pressure ? `, leaves ${node.pressure}/4 of its claims to others` : "")),
    fact("Resolvers reach it at", node.dns_addresses.join(", ") || "–"),
    fact("Claims", String(node.claims)),
    fact("Serves the cuts", node.cuts.join(", ") || "–"),
    fact("Version", node.version || "–")));
  const more = site.nodes.length > 12 ? h("p", { class: "quiet" }, `and ${site.nodes.length - 12} nodes more`) : null;
  const close = h("button", { type: "button", class: "ghost", onclick: () => choose(site.key) }, "Close");
  replace(box, h("div", { class: "head" }, h("h2", {}, site.key), close), ...nodes, more,
    near.length > 0 && h("p", { class: "quiet" }, `Round trips: ${near.join(", ")}`));
}
