// Keys for those who would rather not reach for the mouse, and the choice of light and dark.

import { $, h } from "./dom.js";

const KEYS = [
  ["/", "Ask why", () => $("ask-name").select() ?? $("ask-name").focus()],
  ["m", "The map; arrow keys go from POP to POP, Enter opens one", () => ($("map-body").querySelector(".pop") ?? $("map")).focus()],
  ["w", "Who gets what: arrow keys go from cell to cell, Enter asks why", () => ($("heat-body").querySelector('[tabindex="0"]') ?? $("service")).focus()],
  ["s", "Choose the service", () => $("service").focus()],
  ["e", "What happened", () => $("events-body").focus()],
  ["p", "Plots; arrow keys move through time", () => $("plots").querySelector("svg")?.focus()],
  ["c", "Find a claim", () => $("claims-find").focus()],
  ["t", "Light, dark, or as the system", () => nextTheme()],
  ["?", "These keys", () => $("keys").showModal()],
];
const THEMES = { auto: "Auto", light: "Light", dark: "Dark" };
const KEPT = "nigh-theme";

function nextTheme() {
  const names = Object.keys(THEMES);
  setTheme(names[(names.indexOf(localStorage.getItem(KEPT) ?? "auto") + 1) % names.length]);
}

function setTheme(name) {
  const theme = name in THEMES ? name : "auto";
  localStorage.setItem(KEPT, theme);
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = THEMES[theme];
}

export function listenToKeys() {
  setTheme(localStorage.getItem(KEPT) ?? "auto");
  $("theme").addEventListener("click", nextTheme);
  $("help").addEventListener("click", () => $("keys").showModal());
  $("keys-list").append(...KEYS.flatMap(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)]));
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
    if (typing && event.key === "Escape") document.activeElement.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const found = KEYS.find(([key]) => key === event.key);
    if (!found) return;
    event.preventDefault();
    found[2]();
  });
}
