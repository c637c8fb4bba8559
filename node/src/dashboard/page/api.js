// The node's API: reading, the token, and the stream of events.

const KEPT = "nigh-token";
/** Between two attempts to get the stream back: the first at once, then ever longer, up to this. */
const LONGEST_PAUSE = 5000;
/** Samples come every second; a stream that is silent for so long is broken, whatever the browser thinks. */
const SILENCE = 6000;
const PATIENCE = 10000;

let token = sessionStorage.getItem(KEPT) ?? "";
let asking = null;

/** Why a request was not met: `error` and `hint` as the node says them. */
export class Refused extends Error {
  constructor(status, { error, hint } = {}) {
    super(error ?? `the node answers ${status}`);
    this.status = status;
    this.hint = hint ?? "";
  }
}

/** No answer came, or none in time. What is shown is read again by itself; a person who asked is told. */
export class Silent extends Error {
  constructor() {
    super("The node does not answer.");
    this.hint = "Ask again; if it lasts, look at the node.";
  }
}

const silent = () => { throw new Silent(); };

/** Shows the dialogue once, however many requests wait for it. */
function askForToken(wrong) {
  asking ??= new Promise((resolve) => {
    const dialogue = document.getElementById("token");
    const field = document.getElementById("token-field");
    document.getElementById("token-wrong").hidden = !wrong;
    dialogue.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      token = field.value.trim();
      sessionStorage.setItem(KEPT, token);
      field.value = "";
      dialogue.close();
      asking = null;
      resolve();
    };
    dialogue.oncancel = (event) => event.preventDefault();
    if (!dialogue.open) dialogue.showModal();
  });
  return asking;
}

/** Asks, and asks for the token where one is wanted. `stop` ends what is still being read. */
async function request(path, accept) {
  for (;;) {
    const sent = token;
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), PATIENCE);
    const headers = { accept, ...(sent && { authorization: `Bearer ${sent}` }) };
    const response = await fetch(path, { headers, signal: stop.signal, cache: "no-store", credentials: "omit" })
      .catch(silent).finally(() => clearTimeout(timer));
    if (response.ok) return { response, stop };
    if (response.status !== 401) throw new Refused(response.status, await response.json().catch(() => undefined));
    // Another request may have asked for it meanwhile.
    if (sent === token) await askForToken(sent !== "");
  }
}

/** What stands at a path. */
export async function read(path) {
  const { response, stop } = await request(path, "application/json");
  // A node that falls silent within its answer would hold this place for ever.
  const timer = setTimeout(() => stop.abort(), PATIENCE);
  return response.json().catch(silent).finally(() => clearTimeout(timer));
}

/** Calls `handlers.sample` and `handlers.happening` as they come, `handlers.open` and `handlers.lost` as the stream does. */
export async function follow(handlers) {
  let pause = 0;
  for (;;) {
    let why = "the node ended the stream";
    try {
      await once(handlers, () => { pause = 0; });
    } catch (error) {
      why = error instanceof Refused ? error.message : "the node does not answer";
    }
    pause = Math.min(LONGEST_PAUSE, pause ? pause * 2 : 500);
    handlers.lost(why, pause);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

async function once(handlers, opened) {
  const { response, stop } = await request("/v1/events", "text/event-stream");
  opened();
  handlers.open();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let watchdog;
  try {
    for (;;) {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => stop.abort(), SILENCE);
      const { done, value } = await reader.read();
      if (done) return;
      const events = (text + value).split("\n\n");
      text = events.pop();
      events.forEach((event) => dispatch(event, handlers));
    }
  } finally {
    clearTimeout(watchdog);
  }
}

function dispatch(event, handlers) {
  let kind = "message";
  let data = "";
  for (const line of event.split("\n")) {
    if (line.startsWith("event:")) kind = line.slice(6).trim();
    else if (line.startsWith("data:")) data += line.slice(5);
  }
  if (!data || !handlers[kind]) return;
  try {
    handlers[kind](JSON.parse(data));
  } catch (error) {
    // A fault of the page's own, and no reason to lose the connection.
    console.error(error);
  }
}
