// What happened, newest first.

import { $, h, clock } from "./dom.js";

const MOST = 200;
let last = 0;

const line = (happening, fresh) => h("li", { class: `tone-${happening.tone}${fresh ? " fresh" : ""}` },
  h("time", { datetime: new Date(happening.time_s * 1000).toISOString(), title: new Date(happening.time_s * 1000).toLocaleString() }, clock(happening.time_s)),
  h("i", { "aria-hidden": "true" }), h("span", { title: happening.text }, happening.text));

export function showHappenings(all) {
  $("events-zone").textContent = `times in ${Intl.DateTimeFormat().resolvedOptions().timeZone}`;
  const list = $("events-body");
  list.removeAttribute("aria-busy");
  last = all.at(-1)?.id ?? 0;
  list.replaceChildren(...all.slice(-MOST).reverse().map((happening) => line(happening, false)));
  if (all.length === 0) list.append(h("li", { class: "calm" }, "Nothing since this node started. Calm is good."));
}

export function addHappening(happening) {
  // A stream that was opened before the history was read tells some of it twice.
  if (happening.id <= last) return;
  last = happening.id;
  const list = $("events-body");
  list.querySelector(".loading, .calm")?.remove();
  list.prepend(line(happening, true));
  while (list.children.length > MOST) list.lastElementChild.remove();
}
