// The mesh in six figures, each with what it means.

import { $, h, replace, ms, number, percent, plural, lasting } from "./dom.js";

const tile = (key, tone, title, big, unit, sub, hint) => h("div", { class: `tile ${tone}`, "data-tile": key, title: hint },
  h("h3", {}, title), h("p", { class: "big" }, big, unit && h("small", {}, ` ${unit}`)), h("p", { class: "sub" }, sub));

const sum = (values) => values.reduce((all, value) => all + value, 0);

export function showTiles(status, map, past, unclaimed) {
  const box = $("tiles");
  box.removeAttribute("aria-busy");
  replace(box, members(map), queries(status, past), rtt(past), servers(status), changes(past), strangers(past, unclaimed));
}

function members(map) {
  const here = map.nodes.filter((node) => node.verdict !== "left");
  const alive = here.filter((node) => node.verdict === "alive").length;
  const dead = here.filter((node) => node.verdict === "dead").map((node) => node.name);
  const draining = here.filter((node) => node.verdict === "draining").map((node) => node.name);
  const sub = dead.length ? `${dead.slice(0, 3).join(", ")}${dead.length > 3 ? " …" : ""} dead`
    : draining.length ? `${draining.join(", ")} draining` : here.length === 1 ? "alone" : "all in service";
  return tile("members", dead.length ? "bad" : draining.length ? "look" : "", "Nodes alive", String(alive), `of ${here.length}`, sub, "Nodes that the mesh holds to be alive");
}

function queries(status, past) {
  const now = past.recent(5);
  const rate = sum(["cut", "referrals", "direct", "unclaimed", "other", "negative", "limited"].map((column) => past.mean(column, now)));
  return tile("queries", "", "Questions here", number(rate), "/ s", `${number(status.dns.queries ?? 0)} in ${lasting(status.node.uptime_s)}`, "Questions that this node answered, in the mean of five seconds");
}

function rtt(past) {
  const now = past.recent(10);
  const value = past.mean("rtt_ms", now);
  const worst = past.mean("rtt_worst_ms", now);
  return tile("rtt", "", "Round trip got", value === null ? "–" : ms(value).replace(" ms", ""), value === null ? "" : "ms",
    worst === null ? "nothing measured yet" : `worst service ${ms(worst)}`, "From this node to what its resolvers get, the median over services");
}

function servers(status) {
  const { servers: all, up, down, flapping, unknown } = status.measuring;
  const sub = down ? `${down} down${flapping ? `, ${flapping} flapping` : ""}` : unknown ? `${unknown} not measured yet` : all ? "all up from here" : "none to measure";
  return tile("servers", down ? "bad" : "", "Servers up", String(up), `of ${all}`, sub, "Servers of services, as this node measures them");
}

function changes(past) {
  const all = past.recent(1800);
  const count = past.total("changes", all);
  const minutes = Math.max(1, Math.round(past.covers(all) / 60));
  return tile("changes", "", "Answers changed", number(count), "", `in ${minutes >= 30 ? "half an hour" : plural(minutes, "minute")}`, "Services of which this node's resolvers got other servers");
}

function strangers(past, unclaimed) {
  const now = past.recent(300);
  const all = sum(["referrals", "direct", "unclaimed"].map((column) => past.mean(column, now)));
  const part = all > 0 ? past.mean("unclaimed", now) / all : null;
  const top = unclaimed[0];
  return tile("unclaimed", part !== null && part > 0.5 ? "look" : "", "Unclaimed", part === null ? "–" : percent(part), "",
    top ? `most from ${top.network}` : part > 0 ? "too few to name" : "everyone is known", "The part of first questions from resolvers that nobody claims, in five minutes");
}
