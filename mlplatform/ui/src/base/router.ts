/** The address is the state: everything a page shows can be read back from the part after "#". */

import { signal } from "@preact/signals";

export interface Place {
  /** ["runs", "details", "3f2a..."] */
  path: string[];
  query: URLSearchParams;
}

function read(): Place {
  const text = window.location.hash.replace(/^#\/?/, "");
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

export const place = signal<Place>(read());

window.addEventListener("hashchange", () => {
  place.value = read();
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

export function go(address: string, replace = false): void {
  if (address === window.location.hash) return;
  if (replace) {
    window.history.replaceState(null, "", address);
    place.value = read();
  } else {
    window.location.hash = address.slice(1);
  }
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
