// One card for each source and each sink, and those about the store.

import { chart, counted, hours, lasted } from "./chart.js";
import { draw, facts, keyed, make, mark, say, sign } from "./dom.js";
import { ago, bytes, clock, count, many, rate, seconds, span } from "./words.js";

/** What each state is called, its sign, and how grave it is. */
const STATES = {
  running: ["running", "ok", "ok"],
  starting: ["starting", "begun", "busy"],
  retrying: ["trying again", "again", "warn"],
  waiting: ["waiting", "waiting", "warn"],
  paused: ["paused", "paused", "bad"],
  stopped: ["stopped", "stopped", "bad"],
};

export const state = (part) => STATES[part.state] ?? [part.state, "heed", "warn"];

export const lag = (source, now) => (source.mark ? Math.max(seconds(now) - seconds(source.mark), 0) : null);

const parts = new Map();

function card(key, name, eventsTitle) {
  const head = make("h3", { id: `h-${key}` }, name);
  const pill = make("span", { class: "state" }, draw("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }), make("span"));
  const type = make("span", { class: "type" });
  const figures = make("div", { class: "figures" });
  const trouble = make("div", { class: "trouble", hidden: "" }, make("p", { class: "error" }), make("p", { class: "remedy" }), make("p", { class: "since" }));
  const list = make("dl", { class: "facts" });
  const extra = make("div", { class: "extra" });
  const events = chart(eventsTitle, { bars: true, ceiling: counted, format: (n) => many(n, "event", "events") });
  const lags = chart("Lag", { bars: false, ceiling: lasted, format: span });
  const table = hours(name);
  const node = make("article", { class: "card", id: key, "aria-labelledby": `h-${key}` },
    make("header", {}, head, type, pill), trouble, figures,
    make("div", { class: "charts" }, events.figure, lags.figure), list, extra, table.details);
  parts.set(key, { events, lags, table });
  return node;
}

function common(node, part, now) {
  const [word, shape, level] = state(part);
  mark(node, "data-level", level);
  say(node.querySelector(".type"), part.replica ? `${part.type}, run by ${part.replica}` : part.type);
  const pill = node.querySelector(".state");
  mark(pill, "data-level", level);
  sign(pill.firstElementChild, shape);
  say(pill.lastElementChild, word);
  const trouble = node.querySelector(".trouble");
  trouble.hidden = !part.error;
  mark(trouble, "data-level", level);
  say(trouble.querySelector(".error"), part.error);
  say(trouble.querySelector(".remedy"), part.remedy ? `Remedy: ${part.remedy}` : "");
  const since = part.since_at ? `${word} since ${clock(part.since_at, now)} UTC` : word;
  say(trouble.querySelector(".since"), part.failures ? `${since}, ${many(part.failures, "failure", "failures")} in a row` : since);
}

function figures(node, values) {
  keyed(node.querySelector(".figures"), values, ([label]) => label,
    () => make("p", { class: "figure" }, make("strong"), make("span")),
    (figure, [label, value]) => {
      say(figure.firstElementChild, value);
      say(figure.lastElementChild, label);
    });
}

const before = (iso, now) => (iso ? `${clock(iso, now)} UTC, ${ago(iso, now)}` : "");

export function showSources(container, sources, now) {
  keyed(container, sources, (source) => source.name, (source) => card(`sources.${source.name}`, source.name, "Events stored"), (node, source) => {
    common(node, source, now);
    const behind = lag(source, now);
    figures(node, [
      ["behind its log", behind === null ? "–" : span(behind)],
      ["events stored", count(source.events_stored)],
      ["rate", rate(source.rate)],
    ]);
    const took = source.poll_seconds === null ? "" : `, took ${span(source.poll_seconds)}, ${many(source.poll_records ?? 0, "record", "records")}`;
    facts(node.querySelector(".facts"), [
      ["Mark", source.mark ? before(source.mark, now) : "none: no poll has ended yet"],
      ["Last poll", source.polled_at ? `${ago(source.polled_at, now)}${took}` : "none has succeeded since the start"],
      ["Window", source.window_start ? `${clock(source.window_start, now)} to ${clock(source.window_end, now)} UTC` : ""],
      ["Next poll", source.next_poll_at ? (seconds(source.next_poll_at) > seconds(now) ? ago(source.next_poll_at, now) : "now") : source.state === "stopped" ? "" : "under way"],
      ["Last page", source.stored_at ? `stored ${ago(source.stored_at, now)}` : ""],
      ["Late events", source.late_events ? `${count(source.late_events)} showed up behind the mark, by ${span(source.late_by_seconds)} at most` : "none"],
    ]);
    audit(node.querySelector(".extra"), source.audit, now);
  });
}

const LEVELS = ["off", "base", "advanced", "full"];

function audit(box, known, now) {
  if (!known) return box.replaceChildren();
  if (!box.firstElementChild) box.append(make("h4", {}, "Audit settings"), make("ul", { class: "chips" }), make("dl", { class: "facts" }));
  keyed(box.querySelector("ul"), Object.entries(known.coverage ?? {}), ([area]) => area,
    () => make("li", {}, make("span"), make("b")),
    (chip, [area, level]) => {
      say(chip.firstElementChild, area);
      say(chip.lastElementChild, level);
      mark(chip, "data-level", LEVELS.indexOf(level) === 0 ? "warn" : "");
    });
  const excluded = known.excluded_actions;
  facts(box.querySelector("dl"), [
    ["Not recorded", excluded ? (excluded.length ? excluded.join(", ") : "no action is excluded") : "", excluded?.length ? "warn" : ""],
    ["Soteri", app(known), known.app_installed === false || known.app_enabled === false ? "bad" : ""],
    ["Its clock", Math.abs(known.clock_ahead_seconds ?? 0) >= 5 ? `${span(Math.abs(known.clock_ahead_seconds))} ${known.clock_ahead_seconds > 0 ? "ahead of" : "behind"} ours` : ""],
    ["Token expires", known.token_expires_at ? `${clock(known.token_expires_at, now)} UTC, ${ago(known.token_expires_at, now)}` : ""],
    ["Not allowed to ask", (known.not_allowed ?? []).join(", ")],
    ["Seen", ago(known.seen_at, now)],
  ]);
}

function app(known) {
  if (known.app_installed === false) return "not installed";
  const enabled = known.app_enabled === false ? "disabled" : known.app_enabled ? "enabled" : "";
  return [known.app_version, enabled].filter(Boolean).join(", ");
}

export function showSinks(container, sinks, now) {
  keyed(container, sinks, (sink) => sink.name, (sink) => card(`sinks.${sink.name}`, sink.name, "Events sent"), (node, sink) => {
    common(node, sink, now);
    figures(node, [
      ["backlog", count(sink.backlog_events)],
      ["lag", sink.backlog_events ? span(sink.lag_seconds) : "none"],
      ["rate", rate(sink.rate)],
    ]);
    const done = sink.replay_events - sink.replay_left;
    facts(node.querySelector(".facts"), [
      ["Position", count(sink.position)],
      ["Sent", `${many(sink.events_sent, "event", "events")}${sink.events_sent && sink.sent_at ? `, the last ${ago(sink.sent_at, now)}` : ""}`],
      ["Unacknowledged", sink.unacknowledged === null ? "" : sink.unacknowledged ? `${many(sink.unacknowledged, "event waits", "events wait")} for the destination's word` : "none"],
      ["Left out", sink.events_filtered ? `${many(sink.events_filtered, "event", "events")} by include and exclude` : ""],
      ["Sent again", sink.replay_left ? `${count(done)} of ${count(sink.replay_events)}` : ""],
      ["Next try", sink.next_try_at && sink.error ? ago(sink.next_try_at, now) : ""],
      ["Dead letters", sink.dead_letters ? count(sink.dead_letters) : "none", sink.dead_letters ? "warn" : ""],
    ]);
  });
}

export function showHistory(history, now) {
  for (const part of history.parts) {
    const known = parts.get(part.part);
    if (!known) continue;
    known.events.update(part.at, part.events, seconds(now));
    known.lags.update(part.at, part.lag_seconds, seconds(now));
    known.table.update(part);
  }
}

export const CAUSES = {
  source_retention: "until the source removes what is not read yet",
  sink_age: "until the oldest unsent event is too old for the destination",
  store_capacity: "until the store is full at the present rate, and reading pauses",
};

function plain(key, title) {
  return make("article", { class: "card", "aria-labelledby": `h-${key}` },
    make("header", {}, make("h3", { id: `h-${key}` }, title)), make("div", { class: "figures" }), make("dl", { class: "facts" }));
}

export function showStore(container, status) {
  const nearest = status.loss_horizons[0];
  const share = status.store_limit_bytes ? status.store_bytes / status.store_limit_bytes : 0;
  const cards = [
    ["room", "Room", share >= 0.9 ? "bad" : share >= 0.7 ? "warn" : "",
      [status.store_limit_bytes ? ["of the room is used", `${Math.round(share * 1000) / 10} %`] : ["in use", bytes(status.store_bytes)]],
      status.store_limit_bytes
        ? [["In use", bytes(status.store_bytes)], ["May use", bytes(status.store_limit_bytes)], ["Reading pauses", "at 90 %"]]
        : [["May use", "no limit is known: set [store] capacity"], ["Replicas", status.replicas.join(", ")]]],
    ["horizon", "Loss horizon", nearest && nearest.seconds < 86400 ? "bad" : "",
      [nearest ? ["until something could be lost", nearest.seconds > 0 ? span(nearest.seconds) : "now"] : ["limit on what is unread or undelivered", "none known"]],
      status.loss_horizons.length
        ? status.loss_horizons.map((each) => [`${each.part}`, `${each.seconds > 0 ? span(each.seconds) : "now"} ${CAUSES[each.cause] ?? each.cause}`, each.seconds < 86400 ? "bad" : ""])
        : [["Source", "set its retention, and this says how long there is"]]],
    ["strange", "Not understood", status.unknown_events || status.unreadable_records ? "warn" : "",
      [["events of unknown kind", count(status.unknown_events)], ["records unreadable", count(status.unreadable_records)]],
      [["Unknown kind", status.unknown_events ? "stored and sent like all others; filter by kind soteri.unknown to see them" : ""],
        ["Unreadable", status.unreadable_records ? "kept whole as dead letters" : ""]]],
  ];
  keyed(container, cards, ([key]) => key, ([key, title]) => plain(key, title), (node, [, , level, numbers, list]) => {
    mark(node, "data-level", level);
    figures(node, numbers);
    facts(node.querySelector(".facts"), list);
  });
}
