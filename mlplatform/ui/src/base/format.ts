/** Times, sizes and numbers in words: the same as the command line's. */

/** At most two units: 40ms, 0.4s, 12s, 3m 12s, 2h 5m, 3d 4h. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "";
  if (seconds < 0.095) return `${Math.max(0, Math.round(seconds * 1000))}ms`;
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)}s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)}h ${minutes % 60}m`;
  const hours = Math.floor(minutes / 60);
  return `${Math.floor(hours / 24)}d ${hours % 24}h`;
}

export function size(count: number | null | undefined): string {
  if (count === null || count === undefined) return "";
  let left = count;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (left < 1024) return unit === "B" ? `${left} B` : `${left.toFixed(1)} ${unit}`;
    left /= 1024;
  }
  return `${left.toFixed(1)} TiB`;
}

export function counted(number: number, word: string, plural = `${word}s`): string {
  return `${number.toLocaleString("en")} ${number === 1 ? word : plural}`;
}

/** just now, 5m ago, 3h ago, 2d ago, and the date beyond a month. */
export function ago(at: number, now: number): string {
  const past = now - at;
  const [seconds, suffix, prefix] = past >= 0 ? [past, " ago", ""] : [-past, "", "in "];
  if (seconds < 10) return past >= 0 ? "just now" : "now";
  if (seconds < 60) return `${prefix}${Math.floor(seconds)}s${suffix}`;
  if (seconds < 3600) return `${prefix}${Math.floor(seconds / 60)}m${suffix}`;
  if (seconds < 86400) return `${prefix}${Math.floor(seconds / 3600)}h${suffix}`;
  if (seconds < 31 * 86400) return `${prefix}${Math.floor(seconds / 86400)}d${suffix}`;
  return new Date(at * 1000).toISOString().slice(0, 10);
}

const ABSOLUTE = new Intl.DateTimeFormat("sv-SE", {
  year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
  timeZoneName: "shortOffset",
});

/** A span somebody chose: nothing that is zero. */
export function period(seconds: number): string {
  return duration(seconds).replace(/ 0[a-z]+$/, "");
}

/** Local time with its offset: 2026-05-04 12:30:01 GMT+2. */
export function absolute(at: number): string {
  return ABSOLUTE.format(at * 1000);
}

export function clock(at: number): string {
  return new Date(at * 1000).toLocaleTimeString("sv-SE");
}

/** Ids are shown short, by their end, which differs (they begin with the time); the copy button gives the whole. */
export function short(id: string): string {
  return id.length > 12 ? id.slice(-6) : id;
}

/** A value on one line. Numbers keep their precision. */
export function oneLine(value: unknown): string {
  if (value === undefined) return "";
  if (typeof value === "string") return value;
  return JSON.stringify(value);
}
