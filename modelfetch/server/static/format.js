/**
 * Sizes, rates, durations and times as text.
 *
 * Sizes follow modelfetch/model/units.py to the letter (decimal units, three significant digits), so that the
 * panel and the command line say the same of the same bytes.
 */

const UNITS = ["kB", "MB", "GB", "TB", "PB", "EB"];

/** Bytes: `999 B`, `82.5 MB`. */
export function formatSize(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  let value = bytes;
  for (const unit of UNITS) {
    value /= 1000;
    if (value < 999.5) return `${threeDigits(value)} ${unit}`;
  }
  return `${fixed(value, 0)} ${UNITS.at(-1)}`;
}

function threeDigits(value) {
  if (value < 9.995) return fixed(value, 2);
  return fixed(value, value < 99.95 ? 1 : 0);
}

/** How Python rounds: a value exactly between two neighbours goes to the even one. */
function fixed(value, digits) {
  // Only such a value is an odd multiple of half a last digit and exact in binary.
  if (Math.abs((value * 2 ** (digits + 1)) % 2) !== 1) return value.toFixed(digits);
  const scale = 10 ** digits;
  const below = Math.floor(value * scale);
  return ((below % 2 === 0 ? below : below + 1) / scale).toFixed(digits);
}

/** Bytes per second: `12.3 MB/s`. */
export function formatRate(bytesPerSecond) {
  return `${formatSize(Number(fixed(bytesPerSecond, 0)))}/s`;
}

/** Seconds by their two largest units: `3s`, `1m 32s`, `2h 05m`, `3d 04h`. */
export function formatDuration(seconds) {
  const all = Number(fixed(seconds, 0));
  const [days, hours, minutes, rest] = [
    Math.floor(all / 86400),
    Math.floor(all / 3600) % 24,
    Math.floor(all / 60) % 60,
    all % 60,
  ];
  if (days) return `${days}d ${pad(hours)}h`;
  if (hours) return `${hours}h ${pad(minutes)}m`;
  return minutes ? `${minutes}m ${pad(rest)}s` : `${rest}s`;
}

const pad = (number) => String(number).padStart(2, "0");

/** Percent with one decimal, cut and not rounded: only what is done reads `100%`. */
export function formatPercent(percent) {
  const clamped = clampPercent(percent);
  return clamped === 100 ? "100%" : `${(Math.floor(clamped * 10) / 10).toFixed(1)}%`;
}

/** A percentage between 0 and 100, whatever was sent. */
export function clampPercent(percent) {
  return Math.min(100, Math.max(0, Number(percent) || 0));
}

/** A share between 0 and 1: `97%`. */
export function formatShare(share) {
  return `${Math.round(clampPercent(share * 100))}%`;
}

/** Something counted: `1 file`, `9 files`. */
export function plural(count, noun, several = `${noun}s`) {
  return `${count} ${count === 1 ? noun : several}`;
}

/** Time of day on this computer: `06:00:12`. */
export function formatClock(iso) {
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return "";
  return [time.getHours(), time.getMinutes(), time.getSeconds()].map(pad).join(":");
}

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

/** When something was, on this computer: `06:00` today, else `20 Nov, 06:00`, with the year where it is another. */
export function formatWhen(iso, now) {
  const [time, today] = [new Date(iso), new Date(now)];
  if (Number.isNaN(time.getTime())) return "";
  const clock = [time.getHours(), time.getMinutes()].map(pad).join(":");
  if (time.toDateString() === today.toDateString()) return clock;
  const year = time.getFullYear() === today.getFullYear() ? "" : ` ${time.getFullYear()}`;
  return `${time.getDate()} ${MONTHS[time.getMonth()]}${year}, ${clock}`;
}

/** How long ago something was, roughly: `just now`, `5 min ago`, `3 h ago`, `2 days ago`. */
export function formatAgo(iso, now) {
  const seconds = (now - Date.parse(iso)) / 1000;
  if (Number.isNaN(seconds)) return "";
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${plural(Math.floor(seconds / 86400), "day")} ago`;
}
