/** Long work: how far it is, and a way to stop it. It goes on while one looks at other pages. */

import { signal } from "@preact/signals";
import { Notice } from "./basics";

interface Work {
  id: number;
  title: string;
  /** Of `total`; a part of one counts as that part. */
  done: number;
  total: number;
  stopping: boolean;
  stop: () => void;
}

const works = signal<Work[]>([]);
let count = 0;

function change(id: number, to: Partial<Work>): void {
  works.value = works.value.map((one) => (one.id === id ? { ...one, ...to } : one));
}

export interface Step {
  /** Somebody wants it to end. What is under way may be ended, or finished. */
  signal: AbortSignal;
  /** How much of this part is done, from 0 to 1. */
  share: (share: number) => void;
}

/** Do something to many things, some at a time. Shown unless it is one part that says nothing of its share.
 *
 * Returns how many were come to: fewer than there are if it was stopped. What `step` throws ends it. */
export async function inParts<T>(title: string, all: readonly T[], size: number, step: (part: T[], how: Step) => Promise<void>): Promise<number> {
  const controller = new AbortController();
  const id = ++count;
  const show = (done: number) => {
    if (works.peek().some((one) => one.id === id)) change(id, { done });
    else works.value = [...works.value, { id, title, done, total: all.length, stopping: false, stop: () => {
      controller.abort();
      change(id, { stopping: true });
    } }];
  };
  if (all.length > size) show(0);
  let at = 0;
  try {
    while (at < all.length && !controller.signal.aborted) {
      const part = all.slice(at, at + size);
      const before = at;
      await step(part, { signal: controller.signal, share: (share) => show(before + share * part.length) });
      at += part.length;
      if (all.length > size) show(at);
    }
  } finally {
    works.value = works.value.filter((one) => one.id !== id);
  }
  return at;
}

export function Works() {
  return (
    <>
      {works.value.map((one) => {
        const percent = Math.floor((100 * one.done) / one.total);
        return (
          <Notice key={one.id}>
            <div class="work">
              <span class="grow">{one.title}</span>
              <span class="muted">{one.total > 1 ? `${Math.floor(one.done).toLocaleString("en")} of ${one.total.toLocaleString("en")}` : `${percent}%`}</span>
              <button type="button" class="btn small" disabled={one.stopping} onClick={one.stop}>{one.stopping ? "Stopping" : "Stop"}</button>
            </div>
            <progress max={one.total} value={one.done} aria-label={one.title} />
          </Notice>
        );
      })}
    </>
  );
}
