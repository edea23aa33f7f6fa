// Asks the daemon every few seconds while somebody looks, and says when it cannot be reached.

import { ask } from "./ask.js";
import { showHistory, showSinks, showSources, showStore } from "./cards.js";
import { byId, mark, say, sign } from "./dom.js";
import { showEvents } from "./events.js";
import { showLetters } from "./letters.js";
import { showVerdict } from "./verdict.js";
import { clock } from "./words.js";

const EVERY = 5000;
const HISTORY = 60000;
let last = null;
let historyAt = -HISTORY;
let isAsking = false;
let timer = 0;

function show(status) {
  say(byId("version"), status.version);
  showSources(byId("source-cards"), status.sources, status.at);
  showSinks(byId("sink-cards"), status.sinks, status.at);
  showStore(byId("store-cards"), status);
  showVerdict(status);
  say(byId("fresh"), `As of ${clock(status.at, status.at)} UTC`);
}

function unreachable(error) {
  const why = error.status === 401 ? "The daemon asks who you are: load the page again to say so." : error.status ? `The daemon answers: ${error.message}` : "The daemon cannot be reached.";
  const seen = last ? ` What is shown is of ${clock(last.at, last.at)} UTC.` : "";
  say(byId("unreachable"), `${why}${seen} Asking again every 5 s.`);
  byId("unreachable").hidden = false;
  mark(document.body, "data-stale", "true");
  document.title = "✕ not reached – soteri-forwarder";
  if (last) return;
  sign(document.querySelector("#verdict .sign"), "away");
  say(byId("verdict-said"), "No word from the daemon");
}

async function turn(anew = false) {
  clearTimeout(timer);
  if (isAsking) return;
  isAsking = true;
  try {
    const status = await ask("api/status");
    last = status;
    show(status);
    byId("unreachable").hidden = true;
    mark(document.body, "data-stale", "false");
    if (performance.now() - historyAt >= HISTORY) {
      showHistory(await ask("api/history"), status.at);
      historyAt = performance.now();
    }
    await showEvents(status);
    await showLetters(status, anew);
  } catch (error) {
    unreachable(error);
  } finally {
    isAsking = false;
    if (!document.hidden) timer = setTimeout(turn, EVERY);
  }
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) turn();
});
document.addEventListener("forwarder:changed", () => turn(true));
turn();
