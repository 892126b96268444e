/** One clock for the whole page; it stands still while nobody looks. */

import { signal } from "@preact/signals";

/** Seconds since the epoch by the server's clock, as far as we know it. */
export const now = signal(Date.now() / 1000);

let offset = 0;

/** The server told its time; a browser whose clock is off shows durations right all the same. */
export function correct(server: number): void {
  const found = server - Date.now() / 1000;
  if (Math.abs(found - offset) > 1) offset = Math.abs(found) < 1 ? 0 : found;
}

export function present(): number {
  return Date.now() / 1000 + offset;
}

window.setInterval(() => {
  if (document.visibilityState === "visible") now.value = present();
}, 1000);
