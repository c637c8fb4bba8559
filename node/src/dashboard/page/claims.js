// Which resolvers belong to whom, and who asks without belonging to anyone.

import { $, h, s, replace, empty, code, ms, number } from "./dom.js";

const FOUND_BY = { neighbours: "claims its neighbours", network: "claims most of its operator", country: "claims most of its country" };

export function showClaims({ claims, left_out: leftOut }, looking) {
  const body = $("claims-body");
  body.removeAttribute("aria-busy");
  if (claims.length === 0) {
    replace(body, looking
      ? empty(`No claim fits “${looking}”.`, "An address finds the prefixes around it; a word finds nodes.")
      : empty("Nobody claims any resolver.", h("span", {}, "Each node answers from its own measurements. Give nodes ", code("[[claim]]"), " sections, or let them find their resolvers.")));
    return;
  }
  const rows = claims.map((claim, at) => h("tr", { class: claim.best ? "" : "quiet" },
    h("td", { class: "mono" }, at > 0 && claims[at - 1].prefix === claim.prefix ? "" : claim.prefix),
    h("td", {}, h("span", { class: `badge ${claim.verdict}` }, claim.node)),
    h("td", { class: "num" }, String(claim.preference)),
    h("td", {}, how(claim))));
  replace(body, h("table", {}, h("thead", {}, h("tr", {}, ["Resolvers in", "Claimed by", "Pref.", "How"].map((head) => h("th", { scope: "col" }, head)))), h("tbody", {}, rows)),
    leftOut > 0 && h("p", { class: "quiet" }, `${number(leftOut)} more claims: look for an address or a node.`));
}

function how(claim) {
  if (claim.void) return h("span", { class: "bad" }, "void: beyond its certificate");
  const words = claim.proven ? `seen by ${claim.witness || "another node"}` : "configured";
  const rtt = claim.rtt_ms === null ? "" : `, ${ms(claim.rtt_ms)}`;
  return `${words}${rtt}${claim.best ? "" : " · spare"}`;
}

export function showUnclaimed(lines) {
  const body = $("unclaimed-body");
  body.removeAttribute("aria-busy");
  if (lines.length === 0) {
    replace(body, empty("Everyone who asks here is claimed by a node.", "Networks that ask and are claimed by nobody appear here, the busiest first."));
    return;
  }
  const most = Math.max(...lines.map((line) => line.questions), 1);
  const rows = lines.map((line) => h("tr", {},
    h("td", { class: "mono" }, line.network),
    h("td", {}, s("svg", { class: "meter", viewBox: "0 0 100 9", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { width: Math.max(1, (100 * line.questions) / most), height: 9, rx: 2 })), number(line.questions)),
    h("td", {}, [line.operator && `AS${line.operator}`, line.country].filter(Boolean).join(" · ") || "–"),
    h("td", {}, line.nearest ? h("span", { title: FOUND_BY[line.by] ?? "" }, line.nearest) : "nobody known")));
  replace(body, h("table", {}, h("thead", {}, h("tr", {}, ["Network", "Questions", "Whose", "Nearest, as estimated"].map((head) => h("th", { scope: "col" }, head)))), h("tbody", {}, rows)));
}
