// Looks at the dashboard in headless Chromium, as a person would: what stands there, what keys do, a phone, the dark, a
// node that dies, the connection lost and found. ../dashboard.rs starts real nodes and calls this.
//
//   node dashboard.mjs CHROMIUM FOLDER MESH-URL VICTIM-URL VICTIM-PID LONE-URL TOKEN
//
// Pictures go to FOLDER. The exit code is 0 if all holds; what does not is said with what was there instead.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [chrome, folder, meshUrl, victimUrl, victimPid, loneUrl, token] = process.argv.slice(2);
/** Generous: other tests run beside this one. What is waited for mostly takes a second. */
const PATIENCE = 60_000;
const SERVICE = "www.lb.demo";

const browser = await chromium.launch({
  executablePath: chrome,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const complaints = [];

/** A page that nothing may be wrong with. `expected` are complaints that belong to the step. */
async function open(url, { width = 1440, height = 900, dark = false, expected = /^$/, fresh = true } = {}) {
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: dark ? "dark" : "light", hasTouch: width < 600, reducedMotion: "reduce", locale: "en-GB",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complain = (text) => { if (!expected.test(text)) complaints.push(`${url}: ${text}`); };
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) complain(`${message.type()}: ${message.text()} ${message.location().url}`); });
  page.on("pageerror", (error) => complain(`thrown: ${error.stack}`));
  page.on("request", (request) => { if (new URL(request.url()).origin !== new URL(url).origin) complain(`asks elsewhere: ${request.url()}`); });
  await page.goto(url);
  if (fresh) await page.getByText("Live", { exact: true }).waitFor();
  return page;
}

let now = "the start";
const step = async (name, what) => {
  const began = Date.now();
  now = name;
  await what();
  console.log(`ok  ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
};

const picture = (page, name, options = {}) => page.screenshot({ path: `${folder}/${name}.png`, timeout: PATIENCE, ...options });
const text = (page, selector) => page.locator(selector).innerText();
/** Waits until what a function gives in the page is true. */
const until = (page, what, argument) => page.waitForFunction(what, argument, { timeout: PATIENCE });
const settled = (page) => until(page, () => !document.querySelector("main [aria-busy], .loading"));
/** Whether anything is wider than the window, which on a phone is a page that slips away under the thumb. */
const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

async function wait(what, why) {
  const end = Date.now() + PATIENCE;
  while (Date.now() < end) {
    if (await what()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail(why);
}

let page;
try {
  await step("the mesh is shown: nodes, links, tiles, claims", async () => {
    page = await open(`${meshUrl}#${SERVICE}`);
    await settled(page);
    await until(page, () => document.querySelectorAll(".pop.alive").length === 5);
    assert.match(await text(page, "#map-note"), /^5 of 5 nodes alive · 5 POPs · 10 links/);
    assert.equal(await page.locator(".coast").count(), 1, "places are known, so there is a map");
    assert.match(await text(page, '[data-tile="members"]'), /5 of 5\s+all in service/);
    assert.match(await text(page, '[data-tile="servers"]'), /of 8/);
    assert.equal(await page.locator("#claims-body tbody tr").count(), 10, "five networks with two claimants each");
    assert.match(await text(page, "#unclaimed-body"), /Everyone who asks here is claimed/);
    assert.match(await page.title(), /nyc · nigh/);
  });

  await step("the heat map says what each POP's resolvers get", async () => {
    await until(page, () => document.querySelectorAll(".heat tbody tr").length === 5);
    assert.equal(await page.locator("#service").inputValue(), SERVICE, "the service of the link is chosen");
    const chosen = await page.locator(".heat td.won").evaluateAll((cells) => cells.map((cell) => cell.dataset.key));
    assert.equal(chosen.length, 5, `one server for each POP: ${chosen}`);
    // What the page marks is what the node says by another way.
    for (const key of chosen) {
      const [, node, server] = key.split(" ");
      const given = await page.evaluate(async ([name, cut]) => {
        const claims = await (await fetch("/v1/claims")).json();
        const from = claims.find((claim) => claim.node === cut && claim.best).prefix.replace("0/24", "53");
        const said = await (await fetch(`/v1/explain?name=${name}&from=${from}&at=${cut}`)).json();
        return said.servers.filter((line) => line.chosen).map((line) => line.id);
      }, [SERVICE, node]);
      // Between the two a measurement may have changed it; then the page follows.
      if (!given.includes(server)) await until(page, ([row, id]) => document.querySelector(`[data-key="heat ${row} ${id}"]`).classList.contains("won"), [node, given[0]]);
    }
  });

  await step("samples arrive by the second and are drawn", async () => {
    const drawn = () => page.locator("#plot-queries svg").evaluate((svg) => svg.innerHTML);
    const first = await drawn();
    await wait(async () => (await drawn()) !== first, "the plot of questions stands still");
    for (const plot of ["queries", "rtt", "changes", "happenings"]) assert.equal(await page.locator(`#plot-${plot}`).count(), 1);
    await page.getByRole("button", { name: "30 min" }).click();
    assert.equal(await page.getByRole("button", { name: "30 min" }).getAttribute("aria-pressed"), "true");
    await page.getByRole("button", { name: "1 day" }).click();
    await page.getByRole("button", { name: "5 min" }).click();
  });

  await step("by keys alone: from the map to a POP, from a cell to why", async () => {
    await page.keyboard.press("m");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Enter");
    assert.match(await text(page, "#map-detail"), /Resolvers reach it at/);
    assert.match(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), /^nyc|^sao|^sin|^tyo/i);
    await page.keyboard.press("Escape");
    assert.equal(await page.locator("#map-detail").isVisible(), false);
    await page.keyboard.press("w");
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowDown");
    const cell = await page.evaluate(() => document.activeElement.dataset.key);
    assert.match(cell, /^heat \w+ \w+$/);
    await page.keyboard.press("Enter");
    await page.locator(".why").waitFor();
    assert.match(await text(page, ".why"), /lies in 127\.\d+\.\d\.0\/24, which .* claims/);
    assert.match(await text(page, "#ask-body"), /Servers, seen from/);
    await page.keyboard.press("Escape");
    await page.keyboard.press("?");
    assert.equal(await page.locator("#keys").isVisible(), true);
    await page.keyboard.press("Escape");
    await page.keyboard.press("/");
    await page.keyboard.type("nothing.example");
    await page.keyboard.press("Enter");
    await until(page, () => /in no zone of the mesh/.test(document.querySelector("#ask-body").innerText));
    await page.keyboard.press("Escape");
    await page.keyboard.press("p");
    await page.keyboard.press("ArrowLeft");
    assert.equal(await page.locator("#plot-rtt .read").isVisible(), true);
    await page.keyboard.press("Escape");
  });

  await step("a wrong question is refused with what to do", async () => {
    await page.locator("#ask-from").fill("not an address");
    const [refused] = await Promise.all([
      page.waitForResponse((response) => response.url().includes("/v1/explain") && response.status() === 400),
      page.getByRole("button", { name: "Explain" }).click(),
    ]);
    assert.equal(refused.status(), 400);
    assert.match(await text(page, "#ask-body .refused"), /“not an address” is no address[\s\S]*203\.0\.113\.53/);
    // The browser notes each refused request; the page has shown it.
    for (let at = complaints.length - 1; at >= 0; at -= 1) if (/status of 400.*explain/.test(complaints[at])) complaints.splice(at, 1);
  });

  await step("claims are found by address", async () => {
    await page.locator("#claims-find").fill("127.0.0.1");
    await until(page, () => /No claim fits/.test(document.querySelector("#claims-body").innerText));
    await page.locator("#claims-find").fill("tyo");
    await until(page, () => document.querySelectorAll("#claims-body tbody tr").length === 2);
    await page.locator("#claims-find").fill("");
    await until(page, () => document.querySelectorAll("#claims-body tbody tr").length === 10);
  });

  await step("pictures: wide, dark, phone, why", async () => {
    const wide = await open(`${meshUrl}#${SERVICE}`, { height: 1120 });
    const dark = await open(`${meshUrl}#${SERVICE}`, { dark: true, height: 1120 });
    const phone = await open(`${meshUrl}#${SERVICE}`, { width: 390, height: 844, dark: false });
    for (const each of [wide, dark, phone]) {
      await settled(each);
      await until(each, () => document.querySelectorAll(".heat td.won").length > 0 && document.querySelectorAll(".tile").length === 6);
    }
    await picture(wide, "dashboard");
    await picture(dark, "dashboard-dark");
    await picture(phone, "dashboard-phone");
    const [light, black] = await Promise.all([wide, dark].map((each) => each.evaluate(() => getComputedStyle(document.body).backgroundColor)));
    assert.notEqual(light, black, "the dark is dark");
    assert.ok(await overflow(phone) <= 0, `on a phone the page is ${await overflow(phone)} pixels too wide`);
    const small = await phone.locator("button:visible, select:visible, input:visible").evaluateAll((all) => all.filter((one) => one.getBoundingClientRect().height < 30).map((one) => one.outerHTML));
    assert.deepEqual(small, [], "too small for a thumb");
    await wide.keyboard.press("t");
    await wide.keyboard.press("t");
    assert.equal(await wide.evaluate(() => getComputedStyle(document.body).backgroundColor), black, "dark by choice");
    await wide.keyboard.press("t");
    await wide.locator(".heat td.won").first().click();
    await wide.locator(".why").waitFor();
    await picture(wide.locator("#ask"), "dashboard-why");
    await picture(phone, "phone-whole", { fullPage: true });
    await Promise.all([wide, dark, phone].map((each) => each.context().close()));
  });

  await step("a node dies: its own dashboard says so, and so do the others; both recover", async () => {
    // The browser itself notes each attempt that fails.
    const lost = await open(victimUrl, { expected: /Failed to load resource|ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY/ });
    await settled(lost);
    // It says of when it is once something has come.
    const drawn = () => lost.locator("#plot-queries svg").evaluate((svg) => svg.innerHTML);
    const first = await drawn();
    await wait(async () => (await drawn()) !== first, "the plot of questions stands still");
    process.kill(Number(victimPid), "SIGKILL");
    await lost.getByText("Not connected").waitFor();
    assert.match(await text(lost, "#lost"), /^Connection lost: .* What you see is of \d\d:\d\d:\d\d\./);
    await picture(lost, "lost");
    await page.locator(".pop.dead").waitFor();
    await until(page, () => /is dead/.test(document.querySelector("#events-body").innerText));
    assert.match(await text(page, '[data-tile="members"]'), /4 of 5\s+\w+ dead/);
    await picture(page, "dead");
    await lost.getByText("Live", { exact: true }).waitFor();
    await page.locator(".pop.dead").waitFor({ state: "detached" });
    await until(page, () => /is back/.test(document.querySelector("#events-body").innerText));
    await lost.context().close();
  });

  await step("a node that wants a token: a dialogue, a wrong one refused, the right one kept out of sight", async () => {
    const lone = await open(loneUrl, { expected: /status of 401/, fresh: false });
    const said = [];
    lone.on("console", (message) => said.push(message.text()));
    const asked = [];
    lone.on("request", (request) => asked.push(request.url()));
    const field = lone.locator("#token-field");
    await lone.getByRole("heading", { name: "This node wants a token" }).waitFor();
    assert.equal(await lone.getByText("The token was refused.").isVisible(), false, "none was given yet");
    assert.doesNotMatch(await text(lone, "main"), /lone|Nowhere/, "nothing of the node is shown before");
    await lone.keyboard.press("Escape");
    assert.equal(await field.isVisible(), true, "without a token there is nothing to see behind the dialogue");
    assert.equal(await field.getAttribute("type"), "password", "nobody reads it over a shoulder");
    // Another's token, of the right form, and one that is none.
    for (const wrong of [token.replace(/.$/, (last) => (last === "a" ? "b" : "a")), "wrong"]) {
      await field.fill(wrong);
      const [refused] = await Promise.all([
        lone.waitForResponse((response) => response.status() === 401),
        lone.keyboard.press("Enter"),
      ]);
      assert.equal(await refused.request().headerValue("authorization"), `Bearer ${wrong}`);
      await lone.getByText("The token was refused.").waitFor();
      assert.equal(await field.inputValue(), "", "the next one is typed into an empty field");
    }
    await picture(lone, "token");
    await field.fill(token);
    await lone.keyboard.press("Enter");
    await lone.getByText("Live", { exact: true }).waitFor();
    assert.equal(await lone.locator("#token").isVisible(), false, "the dialogue is gone");
    await settled(lone);
    assert.match(await lone.title(), /lone · nigh/);
    // It goes with every request, in a header and nowhere else.
    await lone.reload();
    await lone.getByText("Live", { exact: true }).waitFor();
    await settled(lone);
    assert.ok(asked.some((url) => url.includes("/v1/events")), "requests are seen here");
    assert.deepEqual([...asked, lone.url(), ...said].filter((seen) => seen.includes(token) || seen.includes("wrong")), [], "in a URL or the console");
    assert.equal(await lone.evaluate((secret) => document.documentElement.outerHTML.includes(secret), token), false, "in the page");
    assert.deepEqual(await lone.context().cookies(), []);
    assert.equal(await lone.evaluate((secret) => JSON.stringify(localStorage).includes(secret), token), false, "kept beyond the tab");
    // Another tab is another reader.
    const other = await lone.context().newPage();
    await other.goto(loneUrl);
    await other.getByRole("heading", { name: "This node wants a token" }).waitFor();
    await other.close();
    page = lone;
  });

  await step("a lone node says what is missing", async () => {
    assert.match(await text(page, "#heat-body"), /No service yet\.[\s\S]*nigh apply/);
    assert.match(await text(page, "#claims-body"), /Nobody claims any resolver/);
    assert.match(await text(page, "#warnings"), /NOT ADMITTED/);
    await picture(page, "empty", { fullPage: true });
  });

  assert.deepEqual(complaints, [], "the browser complains");
} catch (error) {
  // Of every page, for it is not said which of them was waited for.
  const pages = browser.contexts().flatMap((context) => context.pages());
  for (const [at, each] of pages.entries()) await picture(each, `failed-${at + 1}`, { fullPage: true }).catch(() => {});
  console.error(`in the step “${now}”: ${error.stack}`, complaints);
  process.exitCode = 1;
} finally {
  await browser.close();
}
