// A day in five-minute steps: bars or a line, values under the pointer or the arrow keys.

import { draw, make, mark, say } from "./dom.js";
import { clock, count, span } from "./words.js";

const DAY = 86400;
const WIDTH = 1000;
const HEIGHT = 100;

/** Round up to 1, 2 or 5 times a power of ten, so that the axis keeps still. */
function above(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value);
}

const DURATIONS = [60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 43200, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 90 * DAY, 365 * DAY];

export const counted = (value) => above(Math.max(value, 4));
export const lasted = (value) => DURATIONS.find((top) => top >= value) ?? value;

export function chart(title, { bars, ceiling, format }) {
  const path = draw("path", { class: bars ? "bars" : "line" });
  const area = draw("path", { class: "area" });
  const cursor = draw("path", { class: "cursor", visibility: "hidden" });
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("path", { class: "grid", d: `M0 .5H${WIDTH}M0 50H${WIDTH}M0 99.5H${WIDTH}` }), area, path, cursor);
  const plot = make("div", { class: "plot", tabindex: "0", role: "img" }, svg);
  const top = make("span", { class: "top" });
  const tip = make("span", { class: "tip" });
  const figure = make("figure", { class: "chart" },
    make("figcaption", {}, make("span", { class: "title" }, title), tip, top),
    plot,
    make("div", { class: "axis", "aria-hidden": "true" }, make("span", {}, "24 h ago"), make("span", {}, "12 h ago"), make("span", {}, "now")));

  let points = [];
  let begin = 0;
  let chosen = null;

  function show(index) {
    chosen = index;
    const point = points[index];
    mark(cursor, "visibility", point ? "visible" : "hidden");
    if (!point) return say(tip, "");
    const x = ((point.at + 150 - begin) / DAY) * WIDTH;
    mark(cursor, "d", `M${x.toFixed(1)} 0V${HEIGHT}`);
    say(tip, `${clock(point.at * 1000, (begin + DAY) * 1000).slice(0, -3)} UTC: ${format(point.value)}`);
  }

  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const at = begin + ((event.clientX - box.left) / box.width) * DAY;
    let best = null;
    points.forEach((point, index) => {
      if (best === null || Math.abs(point.at + 150 - at) < Math.abs(points[best].at + 150 - at)) best = index;
    });
    tip.removeAttribute("aria-live");
    show(best);
  });
  plot.addEventListener("pointerleave", () => show(null));
  plot.addEventListener("blur", () => show(null));
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -12, PageDown: 12 }[event.key];
    if (!step || !points.length) return;
    event.preventDefault();
    mark(tip, "aria-live", "polite");
    show(Math.min(Math.max((chosen ?? points.length) + step, 0), points.length - 1));
  });

  return {
    figure,
    /** Draw values (null: nobody counted) that began at the epoch seconds `at`. */
    update(at, values, now) {
      begin = Math.ceil(now / 300) * 300 - DAY;
      points = at.map((time, index) => ({ at: time, value: values[index] }))
        .filter((point) => point.value !== null && point.at >= begin);
      const highest = ceiling(Math.max(0, ...points.map((point) => point.value)));
      const x = (time) => (((time - begin) / DAY) * WIDTH).toFixed(1);
      const y = (value) => (HEIGHT - (value / highest) * (HEIGHT - 1)).toFixed(1);
      const runs = [];
      for (const point of points) {
        const last = runs.at(-1)?.at(-1);
        if (last && point.at - last.at === 300) runs.at(-1).push(point);
        else runs.push([point]);
      }
      const steps = runs.map((run) => run.map((point) => `${x(point.at)} ${y(point.value)}H${x(point.at + 300)}`));
      mark(path, "d", bars
        ? points.filter((point) => point.value > 0).map((point) => `M${x(point.at + 30)} ${HEIGHT}V${y(point.value)}H${x(point.at + 270)}V${HEIGHT}Z`).join("")
        : steps.map((run) => `M${run.join("L")}`).join(""));
      mark(area, "d", bars ? "" : runs.map((run, index) => `M${x(run[0].at)} ${HEIGHT}L${steps[index].join("L")}V${HEIGHT}Z`).join(""));
      say(top, points.length ? `0 to ${format(highest)}` : "nothing counted yet");
      const peak = points.reduce((best, point) => (point.value > (best?.value ?? -1) ? point : best), null);
      mark(plot, "aria-label", peak
        ? `${title}, five minutes a step: at most ${format(peak.value)}, at ${clock(peak.at * 1000).slice(-8, -3)} UTC. Arrow keys read the values; a table is below.`
        : `${title}: nothing counted yet.`);
      if (chosen !== null) show(Math.min(chosen, points.length - 1));
    },
  };
}

/** The same as a table of hours, made when somebody opens it. */
export function hours(name) {
  const body = make("tbody");
  const table = make("table", {}, make("caption", { class: "unseen" }, `${name}, hour by hour, the latest first`),
    make("thead", {}, make("tr", {}, ...["Hour (UTC)", "Events", "Greatest lag", "Greatest backlog"].map((head) => make("th", { scope: "col" }, head)))), body);
  const details = make("details", { class: "hours" }, make("summary", {}, "The last day as a table"), make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${name}, hour by hour` }, table));
  let known = null;

  function fill() {
    if (!details.open || !known) return;
    const rows = new Map();
    known.at.forEach((at, index) => {
      const hour = Math.floor(at / 3600) * 3600;
      const row = rows.get(hour) ?? { events: null, lag: 0, backlog: 0 };
      if (known.events[index] !== null) row.events = (row.events ?? 0) + known.events[index];
      row.lag = Math.max(row.lag, known.lag_seconds[index]);
      row.backlog = Math.max(row.backlog, known.backlog[index]);
      rows.set(hour, row);
    });
    body.replaceChildren(...[...rows].reverse().map(([hour, row]) => make("tr", {},
      make("th", { scope: "row" }, clock(hour * 1000).slice(0, -3)),
      make("td", {}, row.events === null ? "not counted" : count(row.events)),
      make("td", {}, span(row.lag)),
      make("td", {}, count(row.backlog)))));
  }
  details.addEventListener("toggle", fill);
  return { details, update(part) { known = part; fill(); } };
}
