// Numbers, durations and times in the words of the page. Times are UTC, as everywhere here.

const whole = new Intl.NumberFormat("en-GB");
const oneDecimal = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 1 });
const dayAndMonth = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

export const count = (n) => whole.format(n);

export const many = (n, one, more) => `${count(n)} ${n === 1 ? one : more}`;

export function span(seconds) {
  const size = Math.abs(seconds);
  if (size < 1) return size < 0.05 ? "0 s" : `${oneDecimal.format(seconds)} s`;
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (size >= 2 * length) return `${oneDecimal.format(seconds / length)} ${unit}`;
  }
  return `${whole.format(Math.round(seconds))} s`;
}

export function rate(perSecond) {
  if (perSecond === 0) return "none";
  if (perSecond >= 10) return `${whole.format(perSecond)}/s`;
  if (perSecond >= 1) return `${oneDecimal.format(perSecond)}/s`;
  if (perSecond >= 1 / 60) return `${oneDecimal.format(perSecond * 60)}/min`;
  return `${oneDecimal.format(perSecond * 3600)}/h`;
}

export function bytes(n) {
  for (const [unit, size] of [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (n >= size) return `${oneDecimal.format(n / size)} ${unit}`;
  }
  return `${n} B`;
}

export const seconds = (iso) => Date.parse(iso) / 1000;

/** The time of day, with the day before it where that is not `now`'s. */
export function clock(iso, now) {
  const at = new Date(iso);
  const time = at.toISOString().slice(11, 19);
  if (now !== undefined && at.toISOString().slice(0, 10) === new Date(now).toISOString().slice(0, 10)) return time;
  const year = now !== undefined && at.getUTCFullYear() === new Date(now).getUTCFullYear() ? "" : ` ${at.getUTCFullYear()}`;
  return `${dayAndMonth.format(at)}${year} ${time}`;
}

export function ago(iso, now) {
  const passed = seconds(now) - seconds(iso);
  return passed >= 0 ? `${span(passed)} ago` : `in ${span(-passed)}`;
}
