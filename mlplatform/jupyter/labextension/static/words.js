// Signs, colours and times: the same as in a run's display (mlplatform/sdk/looks.py).

const GLYPHS = {
  PENDING: "○", QUEUED: "○", WAITING: "◷", RETRYING: "◷", RUNNING: "◐", CANCELLING: "◐", SUCCEEDED: "●",
  CACHED: "⟲", FAILED: "✕", SKIPPED: "–", CANCELLED: "⊘",
};
const HUES = ["#2f6fde", "#b5651d", "#2e8b57", "#8e44ad", "#c2185b", "#00838f", "#7a6f00", "#5d4037", "#455a64", "#d35400"];

export const glyph = (state) => GLYPHS[state] || "○";
export const hue = (number) => HUES[number % HUES.length];
export const ended = (run) => ["SUCCEEDED", "FAILED", "CANCELLED"].includes(run.state);

export function duration(from, to) {
  if (!from) return "";
  const seconds = Math.max(0, (to || Date.now() / 1000) - from);
  if (seconds < 9.95) return `${seconds.toFixed(1)}s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 1440
    ? `${Math.floor(minutes / 60)}h ${minutes % 60}m`
    : `${Math.floor(minutes / 1440)}d ${Math.floor(minutes / 60) % 24}h`;
}

export function when(seconds) {
  const then = new Date(seconds * 1000);
  const today = new Date().toDateString() === then.toDateString();
  return today ? then.toLocaleTimeString() : then.toLocaleString();
}

/** An element. `on...` are listeners; text and elements are its content; everything else is an attribute. */
export function h(tag, attributes = {}, ...content) {
  const svg = ["svg", "g", "rect", "path", "text", "title"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false || value === null) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...content.flat().filter((part) => part !== null && part !== undefined && part !== false && part !== ""));
  return made;
}
