// Time: what was asked, how far the answers were, when they changed, and what happened.

import { $, h, s, clock, ms, number } from "./dom.js";

const KINDS = [
  ["cut", "in a cut", 1], ["direct", "at once", 2], ["referrals", "referrals", 3], ["unclaimed", "unclaimed", 4],
  ["other", "other", 5], ["negative", "denied", 7], ["limited", "over the limit", 6],
];
const LANES = [["member", "Nodes"], ["server", "Servers"], ["answer", "Answers"], ["catalogue", "Edits"], ["warning", "Warnings"], ["node", "This node"]];
const HEIGHT = 150;
const BOX = { left: 52, right: 8, top: 8, bottom: 22 };
/** Pixels between two points: finer is not seen, and costs. */
const GRAIN = 8;
const STEADY_LANE = (HEIGHT - BOX.top - BOX.bottom) / LANES.length;

/** The samples of one step, column by column, and the newest last. */
export class Past {
  constructor() {
    this.columns = { time_s: [] };
    this.loaded = false;
    this.step = 1;
    this.most = 1800;
    this.happenings = [];
  }

  load({ step_s: step, most, samples, happenings }) {
    Object.assign(this, { step, most, columns: samples, happenings, loaded: true });
  }

  add(sample) {
    const { time_s: times } = this.columns;
    // What comes before the history was read is in it.
    if (!this.loaded || sample.time_s <= (times.at(-1) ?? 0)) return;
    for (const [name, column] of Object.entries(this.columns)) {
      column.push(sample[name] ?? null);
      if (column.length > this.most) column.shift();
    }
  }

  tell(happening) {
    if (happening.id > (this.happenings.at(-1)?.id ?? 0)) this.happenings.push(happening);
    if (this.happenings.length > 500) this.happenings.shift();
  }

  /** The places of the samples of the last seconds. */
  recent(seconds) {
    const times = this.columns.time_s;
    const from = (times.at(-1) ?? 0) - seconds;
    let at = times.length;
    while (at > 0 && times[at - 1] > from) at -= 1;
    return [at, times.length];
  }

  covers([from, to]) {
    return to > from ? this.columns.time_s[to - 1] - this.columns.time_s[from] + this.step : 0;
  }

  mean(column, [from, to]) {
    const known = (this.columns[column] ?? []).slice(from, to).filter((value) => value !== null);
    return known.length ? known.reduce((all, value) => all + value, 0) / known.length : column.startsWith("rtt") ? null : 0;
  }

  total(column, [from, to]) {
    return (this.columns[column] ?? []).slice(from, to).reduce((all, value) => all + value, 0);
  }
}

/** Samples gathered into as many steps as there is room for. */
function gather(past, from, until, slots) {
  const width = (until - from) / slots;
  const slot = Array.from({ length: slots }, () => null);
  past.columns.time_s.forEach((time, at) => {
    if (time <= from || time > until) return;
    const place = Math.min(slots - 1, Math.floor((time - from - 1e-9) / width));
    slot[place] ??= { count: 0, time: 0, changes: 0, rtts: 0, rtt: 0, worst: null };
    const sum = slot[place];
    sum.count += 1;
    sum.time = time;
    for (const [name] of KINDS) sum[name] = (sum[name] ?? 0) + past.columns[name][at];
    sum.changes += past.columns.changes[at];
    const [rtt, worst] = [past.columns.rtt_ms[at], past.columns.rtt_worst_ms[at]];
    if (rtt !== null) { sum.rtt += rtt; sum.rtts += 1; }
    if (worst !== null) sum.worst = Math.max(sum.worst ?? 0, worst);
  });
  return slot.map((sum) => sum && {
    ...sum, rtt: sum.rtts ? sum.rtt / sum.rtts : null, ...Object.fromEntries(KINDS.map(([name]) => [name, sum[name] / sum.count])),
  });
}

/** A round number that is not less. */
function roundUp(value) {
  const unit = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return [1, 2, 2.5, 5, 10].map((step) => step * unit).find((step) => step >= value * 0.999);
}

const CHARTS = [
  { key: "queries", title: "Questions a second", draw: stacked, legend: [] },
  { key: "rtt", title: "Round trip to what resolvers of this node get", draw: lines, legend: [["b1", "median"], ["b4", "worst service"]] },
  { key: "changes", title: "Changes of answer", draw: bars, legend: [] },
  { key: "happenings", title: "What happened", draw: lanes, legend: [] },
];

let cursor = null;
let shown = null;

export function showPlots(past, span) {
  const box = $("plots");
  if (!box.firstElementChild) build(box);
  box.removeAttribute("aria-busy");
  const until = past.columns.time_s.at(-1) ?? Math.floor(Date.now() / 1000);
  const from = until - span;
  for (const chart of CHARTS) {
    const figure = $(`plot-${chart.key}`);
    const svg = figure.querySelector("svg");
    const width = Math.max(200, svg.clientWidth || figure.clientWidth);
    const slots = Math.max(20, Math.min(Math.floor((width - BOX.left - BOX.right) / GRAIN), Math.floor(span / past.step)));
    const x = (time) => BOX.left + ((time - from) / span) * (width - BOX.left - BOX.right);
    const view = { past, from, until, span, width, slots, x, slot: gather(past, from, until, slots) };
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.replaceChildren(...timeAxis(view), ...chart.draw(view));
    chart.view = view;
    if (chart.key === "queries") kindsLegend(figure, view);
    if (past.columns.time_s.length === 0) svg.append(s("text", { class: "axis", x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "Remembering since just now…"));
  }
  shown = { from, until, span };
  point(cursor);
}

/** Only of kinds that there are: seven names are more than a glance takes in. */
function kindsLegend(figure, { slot }) {
  const there = KINDS.filter(([name]) => slot.some((sum) => sum && sum[name] > 0));
  const keys = there.map(([name]) => name).join();
  const head = figure.querySelector("h3");
  if (head.dataset.kinds === keys) return;
  head.dataset.kinds = keys;
  head.replaceChildren(CHARTS[0].title, ...there.map(([, words, color]) => h("span", {}, h("b", { class: `b${color}` }), words)));
}

function build(box) {
  box.append(...CHARTS.map((chart) => {
    const svg = s("svg", { role: "img", tabindex: "0", "aria-label": `${chart.title}; arrow keys move through time`, preserveAspectRatio: "none" });
    const read = h("div", { class: "read", hidden: true });
    svg.addEventListener("pointermove", (event) => {
      const { width, from, span } = chart.view;
      const at = (event.clientX - svg.getBoundingClientRect().left - BOX.left) / (width - BOX.left - BOX.right);
      point(at < 0 || at > 1 ? null : from + at * span);
    });
    svg.addEventListener("pointerleave", () => point(null));
    svg.addEventListener("blur", () => point(null));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
      if (event.key === "Escape") return point(null);
      if (!step || !shown) return;
      event.preventDefault();
      point(Math.min(shown.until, Math.max(shown.from, (cursor ?? shown.until) + (step * shown.span) / 100)));
    });
    const legend = chart.legend.map(([color, words]) => h("span", {}, h("b", { class: color }), words));
    return h("div", { class: "plot", id: `plot-${chart.key}` }, h("h3", {}, chart.title, legend), svg, read);
  }));
}

/** Shows what was at a time, in all plots. */
function point(time) {
  cursor = time;
  for (const chart of CHARTS) {
    const figure = $(`plot-${chart.key}`);
    if (!figure || !chart.view) continue;
    figure.querySelector(".hair")?.remove();
    const read = figure.querySelector(".read");
    const { x, width, slots, from, span, slot, past } = chart.view;
    read.hidden = time === null || time < from;
    if (read.hidden) continue;
    const at = Math.min(slots - 1, Math.max(0, Math.floor(((time - from) / span) * slots)));
    const left = x(from + ((at + 0.5) / slots) * span);
    figure.querySelector("svg").append(s("line", { class: "hair", x1: left, x2: left, y1: BOX.top, y2: HEIGHT - BOX.bottom }));
    read.replaceChildren(...words(chart.key, slot[at], past, from + (at / slots) * span, span / slots));
    const left_ = left > width / 2 ? left - read.offsetWidth - 10 : left + 10;
    read.style.left = `${Math.max(0, left_)}px`;
  }
}

function words(key, sum, past, from, wide) {
  const when = h("div", { class: "quiet" }, clock(sum?.time ?? from));
  if (key === "happenings") {
    const near = past.happenings.filter(({ time_s: time }) => time > from - wide && time <= from + 2 * wide);
    return [when, ...near.slice(0, 5).map(({ text }) => h("div", {}, text.length > 60 ? `${text.slice(0, 60)}…` : text))];
  }
  if (!sum) return [when, h("div", {}, "not remembered")];
  if (key === "rtt") return [when, h("div", {}, `median ${ms(sum.rtt)}`), h("div", {}, `worst ${ms(sum.worst)}`)];
  if (key === "changes") return [when, h("div", {}, `${sum.changes} changed`)];
  const kinds = KINDS.filter(([name]) => sum[name] > 0).map(([name, say]) => h("div", {}, `${number(sum[name])} ${say}`));
  return [when, ...(kinds.length ? kinds : [h("div", {}, "none")])];
}

function timeAxis({ from, span, width, x }) {
  const wanted = span / (width < 420 ? 3 : 5);
  const step = [30, 60, 300, 600, 1800, 3600, 7200, 14400, 21600].find((seconds) => seconds >= wanted) ?? 43200;
  const zone = new Date().getTimezoneOffset() * 60;
  const marks = [];
  for (let at = Math.ceil((from - zone) / step) * step + zone; at <= from + span; at += step) {
    if (x(at) > BOX.left + 16 && x(at) < width - 20) marks.push(s("text", { class: "axis", x: x(at), y: HEIGHT - 5, "text-anchor": "middle" }, clock(at, step < 60)));
  }
  return [s("line", { class: "grid", x1: BOX.left, x2: width - BOX.right, y1: HEIGHT - BOX.bottom, y2: HEIGHT - BOX.bottom }), ...marks];
}

const scale = (top) => (value) => HEIGHT - BOX.bottom - (value / top) * (HEIGHT - BOX.top - BOX.bottom);

function valueAxis(top, y, width, say) {
  return [0.5, 1].flatMap((part) => [
    s("line", { class: "grid", x1: BOX.left, x2: width - BOX.right, y1: y(top * part), y2: y(top * part) }),
    s("text", { class: "axis", x: BOX.left - 6, y: y(top * part) + 4, "text-anchor": "end" }, say(top * part)),
  ]);
}

const center = ({ from, span, slots, x }, at) => x(from + ((at + 0.5) / slots) * span);

/** Runs of slots that are known, so that a gap is drawn as one. A slot or two without a sample is no gap. */
function runs(slot) {
  const all = [];
  let missed = Infinity;
  slot.forEach((sum, at) => {
    if (!sum) { missed += 1; return; }
    if (missed > 2) all.push([]);
    all.at(-1).push(at);
    missed = 0;
  });
  return all;
}

function stacked(view) {
  const totals = view.slot.map((sum) => (sum ? KINDS.reduce((all, [name]) => all + sum[name], 0) : 0));
  const top = roundUp(Math.max(1, ...totals));
  const y = scale(top);
  const base = new Array(view.slots).fill(0);
  const areas = KINDS.map(([name, , color]) => {
    const d = runs(view.slot).map((run) => {
      const upper = run.map((at) => `${center(view, at).toFixed(1)} ${y(base[at] + view.slot[at][name]).toFixed(1)}`);
      const lower = run.map((at) => `${center(view, at).toFixed(1)} ${y(base[at]).toFixed(1)}`).reverse();
      run.forEach((at) => { base[at] += view.slot[at][name]; });
      return `M${upper.concat(lower).join("L")}Z`;
    });
    return s("path", { class: `f${color}`, d: d.join("") });
  });
  return [...valueAxis(top, y, view.width, number), ...areas];
}

function lines(view) {
  const worst = view.slot.map((sum) => sum?.worst ?? 0);
  const top = roundUp(Math.max(1, ...worst));
  const y = scale(top);
  const line = (name, kind) => {
    const d = runs(view.slot.map((sum) => (sum && sum[name] !== null ? sum : null)))
      .map((run) => `M${run.map((at) => `${center(view, at).toFixed(1)} ${y(view.slot[at][name]).toFixed(1)}`).join("L")}`);
    return s("path", { class: kind, d: d.join("") });
  };
  return [...valueAxis(top, y, view.width, (value) => `${number(value)} ms`), line("worst", "line second"), line("rtt", "line")];
}

function bars(view) {
  // Wider than a point, or a single change is not seen.
  const each = Math.max(1, Math.ceil(view.slots / 60));
  const counts = [];
  view.slot.forEach((sum, at) => { counts[Math.floor(at / each)] = (counts[Math.floor(at / each)] ?? 0) + (sum?.changes ?? 0); });
  const top = roundUp(Math.max(2, ...counts));
  const y = scale(top);
  const wide = ((view.width - BOX.left - BOX.right) / view.slots) * each;
  const shapes = counts.map((count, at) => count > 0 && s("rect", {
    class: "f3", x: BOX.left + at * wide + 0.5, width: Math.max(2, wide - 1), y: y(count), height: HEIGHT - BOX.bottom - y(count), rx: 1.5,
  }));
  return [...valueAxis(top, y, view.width, number), ...shapes.filter(Boolean)];
}

function lanes({ past, from, until, width, x }) {
  const y = (kind) => BOX.top + STEADY_LANE * (LANES.findIndex(([name]) => name === kind) + 0.5);
  const left = BOX.left + 16;
  const names = LANES.flatMap(([kind, words]) => [
    s("line", { class: "grid", x1: left, x2: width - BOX.right, y1: y(kind), y2: y(kind) }),
    s("text", { class: "axis", x: left - 6, y: y(kind) + 4, "text-anchor": "end" }, words),
  ]);
  const marks = past.happenings.filter(({ time_s: time }) => time > from && time <= until)
    .map(({ time_s: time, kind, tone }) => s("circle", { class: `tick-${tone}`, cx: Math.max(left, x(time)), cy: y(kind), r: 4 }));
  return [...names, ...marks];
}
