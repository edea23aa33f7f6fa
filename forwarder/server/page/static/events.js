// The newest events: fetched anew where some were stored, filtered by the server.

import { ask } from "./ask.js";
import { byId, keyed, make, mark, say } from "./dom.js";
import { clock, count, many } from "./words.js";

const KEPT = 500;
const OFTEN = 30000;
const form = byId("filters");
const body = byId("event-table").tBodies[0];
const kinds = new Set();
let shown = new Map();
let goOn = null;
let searched = 0;
let stored = null;
let lookedAt = 0;
let question = 0;

function wanted() {
  const fields = [...new FormData(form)].map(([name, value]) => [name, value.trim()]);
  return new URLSearchParams(fields.filter(([, value]) => value));
}

async function look(before) {
  const query = wanted();
  if (before !== null) query.set("before", before);
  const asked = ++question;
  const found = await ask(`api/events?${query}`);
  return asked === question ? found : null;
}

async function refresh(anew) {
  const found = await look(null);
  if (!found) return;
  const newest = Math.max(...shown.keys());
  const joins = found.events.some((event) => event.place <= newest);
  if (anew || !joins) {
    shown = new Map();
    goOn = found.before;
    searched = found.searched;
  }
  show(found.events);
}

function show(events) {
  for (const event of events) shown.set(event.place, event);
  const rows = [...shown.values()].sort((one, other) => other.place - one.place).slice(0, KEPT);
  keyed(body, rows, (event) => event.place, row, () => {});
  for (const event of events) kinds.add(event.kind);
  keyed(byId("kinds"), [...kinds].sort(), (kind) => kind, (kind) => make("option", { value: kind }), () => {});
  byId("older").hidden = goOn === null || rows.length >= KEPT;
  const filtered = [...wanted()].length > 0;
  const looked = filtered && goOn !== null ? ` among the newest ${count(searched)}` : "";
  say(byId("event-note"), rows.length ? `${many(rows.length, "event", "events")}${looked}.` : filtered ? `No event fits${looked}.` : "No events are stored.");
}

function row(event) {
  const more = event.detail.length
    ? make("ul", {}, ...event.detail.map((line) => make("li", {}, line)))
    : make("p", {}, "nothing more was recorded");
  const time = make("time", { datetime: event.time }, clock(event.time, Date.now()));
  const severity = make("span", { class: "severity" }, event.severity);
  mark(severity, "data-severity", event.severity);
  const what = make("details", {}, make("summary", {}, make("b", {}, event.action || event.kind), make("code", {}, event.kind)), more, make("p", { class: "id" }, `event ${event.event_id}, place ${count(event.place)}, from ${event.source}`));
  return make("tr", { role: "row" }, ...[time, severity, what, short(event.actor), short(event.objects.join(", "))].map((cell) => make("td", { role: "cell" }, cell)));
}

const short = (text) => make("div", { class: "short", title: text }, text || "–");

/** Look again where the number of stored events has changed; our own events no source counts. */
export async function showEvents(status) {
  const now = status.sources.reduce((sum, source) => sum + source.events_stored, 0);
  if (now === stored && performance.now() - lookedAt < OFTEN) return;
  await refresh(stored === null);
  stored = now;
  lookedAt = performance.now();
}

let timer = 0;
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(() => refresh(true).catch(() => {}), 250);
});
byId("older").addEventListener("click", async () => {
  const found = await look(goOn).catch(() => null);
  if (!found) return;
  goOn = found.before;
  searched += found.searched;
  show(found.events);
});
