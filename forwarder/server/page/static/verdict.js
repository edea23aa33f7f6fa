// One sentence about everything, and what a person should look at.

import { byId, draw, keyed, make, mark, say, sign } from "./dom.js";
import { CAUSES, lag, state } from "./cards.js";
import { ago, clock, many, seconds, span } from "./words.js";

const SOON = 86400;

/** What is not as it should be, the gravest first: level, what, where on the page, details, remedy. */
function troubles(status) {
  const found = [];
  if (status.store_error) found.push(["bad", "The store is away", "store", `${status.store_error}. What is shown is what it said last.`, ""]);
  const named = [...status.sources.map((part) => ["source", part]), ...status.sinks.map((part) => ["sink", part])];
  for (const [noun, part] of named) {
    const [word, , level] = state(part);
    if (level === "bad" || level === "warn") found.push([level, `The ${noun} ${part.name} is ${word}`, `${noun}s.${part.name}`, part.error, part.remedy]);
  }
  for (const noun of ["source", "sink"]) {
    if (!status[`${noun}s`].length) found.push(["warn", `No ${noun} is configured`, `${noun}s`, "nothing is forwarded", ""]);
  }
  for (const horizon of status.loss_horizons) {
    if (horizon.seconds < SOON) found.push(["bad", `Events could be lost ${horizon.seconds > 0 ? `in ${span(horizon.seconds)}` : "already"}`, "store", `${horizon.part}: ${CAUSES[horizon.cause] ?? horizon.cause}`, ""]);
  }
  for (const condition of status.conditions) {
    found.push(["warn", condition.kind, condition.part, `${condition.part}: ${condition.detail}, since ${ago(condition.since_at, status.at).replace(/ ago$/, "")}`, ""]);
  }
  const letters = status.sinks.reduce((sum, sink) => sum + sink.dead_letters, status.unreadable_records);
  if (letters) found.push(["warn", many(letters, "dead letter", "dead letters"), "letters", "refused for good, or unreadable; kept whole, to be replayed or discarded", ""]);
  return found.sort(([one], [other]) => (one === other ? 0 : one === "bad" ? -1 : 1));
}

function summary(status, list) {
  const grave = list.filter(([level]) => level === "bad").length;
  if (grave) return ["bad", "alarm", grave === 1 ? `${list[0][1]}` : `${grave} things need you`];
  if (list.length) return ["warn", "heed", list.length === 1 ? list[0][1] : `Going on, with ${list.length} things to look at`];
  const backlog = Math.max(0, ...status.sinks.map((sink) => sink.backlog_events));
  const begun = [...status.sources, ...status.sinks].some((part) => part.state === "starting");
  if (backlog > 1000 || status.sources.some((source) => (lag(source, status.at) ?? 0) > 3600)) return ["busy", "again", "Catching up"];
  return begun && status.sources.some((source) => !source.mark) ? ["busy", "begun", "Starting"] : ["ok", "ok", "All is well"];
}

function reach(status) {
  const marks = status.sources.map((source) => source.mark);
  if (!marks.length) return "There is nothing to read from.";
  const unread = status.sources.filter((source) => !source.mark);
  if (unread.length) return unread.length === marks.length ? "No source has been read to its end yet." : `Not read to the end yet: ${unread.map((source) => source.name).join(", ")}.`;
  const upTo = marks.reduce((one, other) => (seconds(one) < seconds(other) ? one : other));
  const time = `${clock(upTo, status.at)} UTC`;
  const owing = status.sinks.filter((sink) => sink.backlog_events);
  const refused = status.sinks.filter((sink) => sink.dead_letters);
  const but = refused.length ? `, but for the dead letters of ${refused.map((sink) => sink.name).join(", ")}` : "";
  if (!owing.length) return `Everything up to ${time} is delivered to every sink${but}.`;
  const owed = owing.map((sink) => `${many(sink.backlog_events, "event", "events")} to ${sink.name}`);
  return `Everything up to ${time} is stored. Still to deliver: ${owed.join(", ")}.`;
}

export function showVerdict(status) {
  const list = troubles(status);
  const [level, shape, text] = summary(status, list);
  mark(byId("verdict"), "data-level", level);
  sign(document.querySelector("#verdict .sign"), shape);
  say(byId("verdict-said"), text);
  say(byId("verdict-more"), reach(status));
  say(byId("announced"), text);
  const word = { ok: "✓", busy: "…", warn: "!", bad: "‼" }[level];
  const title = `${word} ${text} – soteri-forwarder`;
  if (document.title !== title) document.title = title;
  byId("troubles").hidden = !list.length;
  keyed(byId("troubles"), list, ([, what, where]) => `${where} ${what}`,
    ([, what, where]) => make("li", {}, draw("svg", { class: "sign", viewBox: "0 0 24 24", "aria-hidden": "true" }), make("div", {}, make("a", { href: `#${where}` }, what), make("p"), make("p", { class: "remedy" }))),
    (node, [level, , , said, remedy]) => {
      mark(node, "data-level", level);
      sign(node.firstElementChild, level === "bad" ? "alarm" : "heed");
      const [, details, cure] = node.lastElementChild.children;
      say(details, said);
      say(cure, remedy ? `Remedy: ${remedy}` : "");
    });
}
