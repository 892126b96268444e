/** The address is the state: everything a page shows can be read back from the part after "#". */

import { signal } from "@preact/signals";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

export interface Place {
  /** ["runs", "details", "3f2a..."] */
  path: string[];
  query: URLSearchParams;
}

function read(address: string): Place {
  const text = address.replace(/^#\/?/, "");
  const at = text.indexOf("?");
  const path = (at < 0 ? text : text.slice(0, at)).split("/").filter(Boolean).map(decoded);
  return { path, query: new URLSearchParams(at < 0 ? "" : text.slice(at + 1)) };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address that is shown, as it is in the address bar or soon will be. */
let current = window.location.hash;
export const place = signal<Place>(read(current));

/** Back and forward, and what somebody typed into the address bar. */
window.addEventListener("hashchange", () => {
  if (window.location.hash === current) return;
  window.clearTimeout(late);
  late = 0;
  current = window.location.hash;
  place.value = read(current);
});

// A link within the app leads on at once: by itself the browser would tell of it a moment later, and a key pressed in
// between would start from where one no longer is.
window.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element | null)?.closest?.("a");
  const address = link?.getAttribute("href");
  if (!address?.startsWith("#/") || link!.target || link!.hasAttribute("download")) return;
  event.preventDefault();
  go(address);
});

export type Query = Record<string, string | string[] | number | boolean | null | undefined>;

/** The address of a page, to be put into href. Empty values are left out. */
export function href(path: string[], query: Query = {}): string {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (Array.isArray(value)) for (const item of value) found.append(name, item);
    else if (value !== null && value !== undefined && value !== "" && value !== false) found.set(name, String(value));
  }
  const text = found.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** Browsers refuse more changes of the address than a few a second, if they go on. */
const [MOST, A_SECOND] = [60, 3];
let room = MOST;
let since = 0;
let late = 0;

function write(): void {
  window.clearTimeout(late);
  late = 0;
  const now = performance.now();
  room = Math.min(MOST, room + ((now - since) / 1000) * A_SECOND);
  since = now;
  if (room < 1) late = window.setTimeout(write, 1000 / A_SECOND);
  else {
    room--;
    window.history.replaceState(null, "", current);
  }
}

/** Show another place; what reads `place` sees it at once, whenever the browser gets to its address bar. */
export function go(address: string, replace = false): void {
  if (address === current) return;
  if (!replace) {
    if (late) {
      window.clearTimeout(late);
      late = 0;
      window.history.replaceState(null, "", current);
    }
    window.history.pushState(null, "", address);
  }
  current = address;
  place.value = read(address);
  if (replace) write();
}

/** Change some of the query and keep the rest; null removes. Selections replace the entry, so that Back leaves the page
 * and does not walk through every row that was looked at. */
export function update(change: Query, replace = true): void {
  const { path, query } = place.value;
  const next: Query = {};
  for (const name of new Set(query.keys())) {
    const all = query.getAll(name);
    next[name] = all.length > 1 ? all : all[0];
  }
  go(href(path, { ...next, ...change }), replace);
}

/** A search field over a part of the address, which follows the typing a little later. Nothing that is typed is lost
 * to an answer of before; what leads elsewhere meanwhile, as Back does, is shown. */
export function useTyped(text: string, send: (text: string) => void, after = 200): [string, (text: string) => void] {
  const held = useRef({ typed: text, sent: text, timer: 0 }).current;
  const [, draw] = useState(0);
  const leave = useRef(send);
  leave.current = send;
  if (text !== held.sent) {
    window.clearTimeout(held.timer);
    held.typed = held.sent = text;
  }
  useLayoutEffect(() => () => window.clearTimeout(held.timer), []);
  const type = (typed: string) => {
    held.typed = typed;
    window.clearTimeout(held.timer);
    held.timer = window.setTimeout(() => {
      held.sent = held.typed;
      leave.current(held.typed);
    }, after);
    draw((value) => value + 1);
  };
  return [held.typed, type];
}
