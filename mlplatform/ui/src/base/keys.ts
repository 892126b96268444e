/** Shortcuts: a page says what it has while it is shown; "?" lists what is there. */

import { signal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { go } from "./router";

export interface Shortcut {
  /** "j", "Enter", "g r" */
  keys: string;
  help: string;
  run: () => void;
}

const active = new Set<Shortcut[]>();
export const helpOpen = signal(false);

const EVERYWHERE: Shortcut[] = [
  { keys: "g r", help: "Go to runs", run: () => go("#/runs") },
  { keys: "g p", help: "Go to pipelines", run: () => go("#/pipelines") },
  { keys: "g c", help: "Go to recurring runs", run: () => go("#/recurringruns") },
  { keys: "g a", help: "Go to artifacts", run: () => go("#/artifacts") },
  { keys: "?", help: "These shortcuts", run: () => (helpOpen.value = !helpOpen.value) },
  { keys: "/", help: "Search", run: () => document.querySelector<HTMLInputElement>("[data-search]")?.focus() },
];

active.add(EVERYWHERE);

/** Keys come faster than a busy browser paints, and effects run after it has painted: what is on the page now must answer
 * them, and what is gone must not. Hence as of this rendering, and with the change of the document itself. */
export function useShortcuts(list: Shortcut[]): void {
  const held = useRef(list);
  held.current.splice(0, held.current.length, ...list);
  useLayoutEffect(() => {
    active.add(held.current);
    return () => void active.delete(held.current);
  }, []);
}

export function shortcuts(): Shortcut[] {
  return [...active].reverse().flat();
}

let pending = "";
let timer = 0;

function typing(target: EventTarget | null): boolean {
  const element = target as HTMLElement | null;
  return !!element && (element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName));
}

window.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing(event.target)) {
    if (event.key === "Escape") (event.target as HTMLElement).blur();
    return;
  }
  if (document.querySelector("dialog[open]") && event.key !== "?") return;
  const control = (event.target as HTMLElement | null)?.closest?.("a, button, summary, [role=tab], [role=menuitem]");
  if (control && (event.key === "Enter" || event.key === " ")) return;
  const pressed = pending ? `${pending} ${event.key}` : event.key;
  pending = "";
  window.clearTimeout(timer);
  const all = shortcuts();
  const found = all.find((one) => one.keys === pressed);
  if (found) {
    event.preventDefault();
    found.run();
  } else if (all.some((one) => one.keys.startsWith(`${pressed} `))) {
    pending = pressed;
    timer = window.setTimeout(() => (pending = ""), 900);
  }
});
