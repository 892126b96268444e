/** What this browser remembers: the theme and a few widths. Nothing of it matters. */

import { effect, signal, type Signal } from "@preact/signals";

function remembered<T>(name: string, value: T): Signal<T> {
  const key = `mlplatform.${name}`;
  let first = value;
  try {
    const stored = window.localStorage.getItem(key);
    if (stored !== null) first = JSON.parse(stored) as T;
  } catch {
    // no storage in this browser: the default is fine
  }
  const found = signal(first);
  let begun = false;
  effect(() => {
    const next = JSON.stringify(found.value);
    if (!begun) {
      begun = true;
      return;
    }
    try {
      window.localStorage.setItem(key, next);
    } catch {
      // as above
    }
  });
  return found;
}

export type Theme = "system" | "light" | "dark";
export const theme = remembered<Theme>("theme", "system");
export const panelWidth = remembered<number>("panel", 480);

effect(() => {
  document.documentElement.dataset.theme = theme.value;
});
