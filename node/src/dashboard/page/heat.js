// A service from every POP: what each node measures, and which server its resolvers get.

import { $, h, replace, empty, code, ms, percent } from "./dom.js";

/** Steps that differ to a person who waits: a city, a country, a continent, an ocean, the other side of the world. */
const STEPS = [20, 50, 100, 150, 250];
/** Of the services in the menu; null until they were read. */
let listed = null;
let onAsk = () => {};

export function heatAsks(ask) {
  onAsk = ask;
}

/** The service that is shown. */
export const shownService = () => $("service").value;

/** Fills the menu; true if another service is shown than before. */
export function showServices(list) {
  const names = list.map((service) => service.name);
  // The first list may be empty, and that is news: until then the page says that it reads.
  if (names.join() === listed) return false;
  listed = names.join();
  const menu = $("service");
  const held = menu.value || location.hash.slice(1);
  menu.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
  menu.disabled = names.length === 0;
  if (names.includes(held)) menu.value = held;
  $("names").replaceChildren(...names.map((name) => h("option", { value: name })));
  if (!$("ask-name").value && names.length) $("ask-name").value = menu.value;
  if (names.length === 0) {
    $("heat-body").removeAttribute("aria-busy");
    replace($("heat-body"), empty("No service yet.", h("span", {}, "Write one into a catalogue and sign it: ", code("nigh apply services.toml --key operator.key"))));
    replace($("heat-note"));
  }
  return true;
}

const shade = (rtt) => `h${STEPS.filter((limit) => rtt >= limit).length}`;

export function showHeat(heat) {
  const body = $("heat-body");
  body.removeAttribute("aria-busy");
  if (heat.servers.length === 0) {
    replace(body, empty(`${heat.service} has no servers.`, "Until it has one, it is answered with nothing."));
    return;
  }
  const head = h("tr", {}, h("td", { "aria-hidden": "true" }), heat.servers.map((server) => h("th", { scope: "col" }, server.id,
    h("small", {}, server.state === "up" ? server.address : `${server.address} · ${server.state}`))));
  const held = document.activeElement?.dataset?.key ?? "";
  const rows = heat.rows.map((row) => line(heat, row));
  const table = h("table", { class: "heat", role: "grid", "aria-label": `What each node measures of ${heat.service}; arrow keys move, Enter asks why` },
    h("thead", {}, head), h("tbody", {}, rows));
  const cells = [...table.querySelectorAll("tbody td")];
  (cells.find((cell) => cell.dataset.key === held) ?? cells.find((cell) => cell.classList.contains("won")) ?? cells[0])?.setAttribute("tabindex", "0");
  table.addEventListener("keydown", (event) => move(event, cells, heat.servers.length));
  const scrolled = body.scrollLeft;
  replace(body, table);
  body.scrollLeft = scrolled;
  legend(heat);
}

function line(heat, row) {
  const away = row.verdict !== "alive" && row.verdict !== "draining";
  const under = [row.pop, row.verdict !== "alive" && row.verdict].filter(Boolean).join(" · ");
  return h("tr", { class: away ? "away" : "" },
    h("th", { scope: "row" }, row.node, under && h("small", {}, under)),
    row.cells.map((cell, at) => square(heat, row, cell, heat.servers[at])));
}

function square(heat, row, cell, server) {
  const won = cell.share > 0;
  const kind = [cell.state === "up" && cell.rtt_ms !== null ? shade(cell.rtt_ms) : cell.state, won && "won"].filter(Boolean).join(" ");
  const words = cell.state === "up" ? ms(cell.rtt_ms) : cell.state === "down" ? "down" : "not measured";
  const small = [
    won && cell.share < 0.995 && percent(cell.share),
    cell.loss >= 0.01 && `${percent(cell.loss)} lost`,
    cell.load !== null && cell.load !== undefined && `load ${percent(cell.load)}`,
    server.state !== "up" && server.state,
  ].filter(Boolean).join(" · ");
  const why = cell.why ? `; ${cell.why}` : "";
  const gets = won ? `, given to ${cell.share > 0.995 ? "the" : percent(cell.share) + " of the"} resolvers of ${row.node}` : "";
  return h("td", {
    class: kind, tabindex: "-1", role: "gridcell", "data-key": `heat ${row.node} ${server.id}`, title: `${server.id} from ${row.node}: ${words}${why}${gets}`,
    "aria-label": `${server.id} from ${row.node}: ${words}${why}${gets}${small ? `, ${small}` : ""}`,
    onclick: () => onAsk(heat.service, row.node, server.address),
  }, words, small && h("small", {}, small));
}

function move(event, cells, columns) {
  const at = cells.indexOf(document.activeElement);
  if (at < 0) return;
  const column = at % columns;
  const to = {
    ArrowRight: column + 1 < columns ? at + 1 : at, ArrowLeft: column > 0 ? at - 1 : at, ArrowDown: at + columns, ArrowUp: at - columns,
    Home: at - column, End: at - column + columns - 1,
  }[event.key];
  if (event.key === "Enter" || event.key === " ") cells[at].click();
  else if (to === undefined) return;
  else if (cells[to]) {
    cells[at].setAttribute("tabindex", "-1");
    cells[to].setAttribute("tabindex", "0");
    cells[to].focus();
  }
  event.preventDefault();
}

function legend(heat) {
  const open = heat.rows.filter((row) => row.failed_open && row.verdict === "alive").map((row) => row.node);
  const instead = heat.rows.filter((row) => row.instead.length).map((row) => `${row.node} gives ${row.instead.join(", ")}`);
  replace($("heat-note"),
    h("span", {}, h("i", { class: "swatch won" }), "given to this POP's resolvers"),
    h("span", {}, "near", h("span", { class: "ramp", "aria-hidden": "true" }, [0, 1, 2, 3, 4, 5].map((n) => h("b", { class: `h${n}` }))), `far (steps at ${STEPS.join(", ")} ms)`),
    h("span", {}, h("i", { class: "swatch down" }), "down"),
    h("span", {}, "Choose a cell to ask why."),
    open.length > 0 && h("span", { class: "bad" }, `Nothing is known to be up from ${open.join(", ")}: answers may be wrong.`),
    instead.length > 0 && h("span", { class: "look" }, `${instead.join("; ")} instead, because nothing is up.`),
    heat.left_out > 0 && h("span", {}, `${heat.left_out} more are not shown.`));
}
