// "What would this resolver be answered, and why?": the node's own explanation, laid out.

import { $, h, replace, ms, percent, ago } from "./dom.js";
import { read } from "./api.js";

let latest = 0;

/** Prepares the form. */
export function listenToQuestions() {
  $("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    explain();
  });
}

/** The nodes that can be asked, and resolvers to suggest. */
export function suggest(map, claims) {
  const menu = $("ask-at");
  const names = map.nodes.map((node) => node.name);
  if ([...menu.options].map((option) => option.value).join() !== names.join()) {
    const held = menu.value || map.nodes.find((node) => node.self)?.name;
    menu.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
    menu.value = names.includes(held) ? held : names[0];
  }
  const best = claims.filter((claim) => claim.best).slice(0, 50);
  $("froms").replaceChildren(...best.map((claim) => h("option", { value: within(claim.prefix), label: `claimed by ${claim.node}` })));
  if (!$("ask-from").value && best.length) $("ask-from").value = within((best.find((claim) => claim.node !== menu.value) ?? best[0]).prefix);
}

/** An address in a prefix: a resolver there. */
export function within(prefix) {
  const [address, length] = prefix.split("/");
  if (address.includes(":")) return Number(length) === 128 ? address : address.endsWith("::") ? `${address}35` : address;
  if (Number(length) === 32) return address;
  const parts = address.split(".").map(Number);
  parts[3] |= Number(length) <= 24 ? 53 : 1;
  return parts.join(".");
}

/** Fills the form and asks: from a cell of the heat map. */
export function ask(name, type, from) {
  $("ask-name").value = name;
  $("ask-type").value = type;
  if (from) $("ask-from").value = from;
  $("ask").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth", block: "start" });
  explain();
}

async function explain() {
  latest += 1;
  const mine = latest;
  const body = $("ask-body");
  const query = new URLSearchParams({
    name: $("ask-name").value.trim(), type: $("ask-type").value, from: $("ask-from").value.trim(), at: $("ask-at").value,
  });
  body.setAttribute("aria-busy", "true");
  try {
    const explanation = await read(`/v1/explain?${query}`);
    if (mine === latest) replace(body, ...show(explanation));
  } catch (error) {
    const [what, todo] = /IP address/.test(error.message)
      ? [`“${query.get("from")}” is no address.`, "Give that of a resolver, such as 203.0.113.53 or 2001:db8::53."] : [error.message, error.hint];
    if (mine === latest) replace(body, h("div", { class: "refused" }, h("p", {}, what), todo && h("p", { class: "quiet" }, todo)));
  } finally {
    body.removeAttribute("aria-busy");
  }
}

function show(explanation) {
  const { at, decided_by: decider, claims, servers, answer, authority, additional, code, authoritative } = explanation;
  const chosen = servers.filter((server) => server.chosen);
  const steps = [explanation.from, `asks ${at}`, decider && (decider === at ? `${at} decides` : `${decider} decides`),
    chosen.length ? `gets ${chosen.map((server) => server.id).join(" and ")}${chosen[0].rtt_ms !== null ? `, ${ms(chosen[0].rtt_ms)}` : ""}` : `gets ${code}`].filter(Boolean);
  const way = h("ol", { class: "steps", "aria-label": "The way of the answer" }, steps.flatMap((step, at) => [
    at > 0 && h("li", { class: "arrow", "aria-hidden": "true" }, "→"), h("li", { class: at === steps.length - 1 ? "end" : "" }, step)]));
  const sections = [...answer, ...authority.map((record) => `${record}   ; authority`), ...additional.map((record) => `${record}   ; additional`)];
  return [
    way, h("p", { class: "why" }, explanation.why),
    claims.length > 0 && table(`Claims that cover ${explanation.from}`, ["prefix", "node", "preference", "how", "node is", "outcome"], claims.map((claim) => [claim.won,
      claim.prefix, claim.node, claim.preference, `${claim.proven ? "proven" : "configured"}${claim.rtt_ms === null ? "" : `, ${ms(claim.rtt_ms)}`}`, claim.standing, claim.why])),
    servers.length > 0 && table(`Servers, seen from ${decider}`, ["server", "address", "round trip", "lost", "measured", "state", "reason"], servers.map((server) => [server.chosen,
      server.id, server.address, ms(server.rtt_ms), server.loss === null ? "–" : percent(server.loss), server.age_s === null ? "–" : ago(server.age_s), server.state, server.reason])),
    h("h3", {}, `Answer: ${code}${authoritative ? ", authoritative" : ""}`),
    h("pre", { class: "records", tabindex: "0" }, sections.join("\n") || "no records"),
  ];
}

const table = (title, heads, rows) => h("div", { class: "scroll" }, h("h3", {}, title), h("table", {},
  h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
  h("tbody", {}, rows.map(([won, ...cells]) => h("tr", { class: won ? "won" : "lost-row" }, cells.map((cell) => h("td", {}, String(cell))))))));
