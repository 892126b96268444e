/** The tab's one stream of events. A page says what it wants to hear; what was missed while away comes on return.
 *
 * A tab that nobody sees holds no stream: browsers allow six connections to a server, and people open more tabs.
 */

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { url } from "./api";
import { correct } from "./clock";
import type { LiveEvent } from "./types";

export const connection = signal<"off" | "live" | "lost">("off");

/** A tab that was left keeps its stream this long, so that switching to and fro costs nothing. */
const GRACE = 20_000;
const RETRY = [300, 600, 1000, 2000, 3000];

/** Hear of one run with its tasks ("" : of all runs as a whole), from event `after` on. Returns how to stop.
 *
 * `anew`: all must be read again, since events do not tell what changed; once too at the start, if `after` is null. */
export function listen(run: string, after: number | null, take: (events: LiveEvent[]) => void, anew: () => void, topic = ""): () => void {
  let last = after;
  let source: EventSource | null = null;
  let timer = 0;
  let failures = 0;

  const open = () => {
    timer = 0;
    if (document.hidden) return; // opened when somebody looks
    source = new EventSource(url("events", topic ? { topic } : { run, after: last }));
    source.addEventListener("hello", (event) => {
      const told = JSON.parse((event as MessageEvent<string>).data) as { seq: number; now: number };
      failures = 0;
      connection.value = "live";
      correct(told.now);
      if (last === null) {
        // What happened between the page's answer and now is in neither.
        last = told.seq;
        anew();
      } else if (told.seq < last || topic) {
        // another store, or an older one: what we know is not of this world
        last = told.seq;
        anew();
      }
    });
    source.addEventListener("events", (event) => {
      const told = JSON.parse((event as MessageEvent<string>).data) as { seq: number; events: LiveEvent[] };
      last = told.seq;
      take(told.events);
    });
    source.addEventListener("reset", (event) => {
      last = (JSON.parse((event as MessageEvent<string>).data) as { seq: number }).seq;
      anew();
    });
    source.onerror = () => {
      source?.close();
      connection.value = "lost";
      timer = window.setTimeout(open, RETRY[Math.min(failures++, RETRY.length - 1)]);
    };
  };

  const looked = () => {
    window.clearTimeout(timer);
    timer = 0;
    if (document.hidden) {
      timer = window.setTimeout(() => {
        source?.close();
        source = null;
        connection.value = "off";
      }, GRACE);
    } else if (source === null || source.readyState === EventSource.CLOSED) open();
  };
  document.addEventListener("visibilitychange", looked);
  open();
  return () => {
    document.removeEventListener("visibilitychange", looked);
    source?.close();
    window.clearTimeout(timer);
    connection.value = "off";
  };
}

/** Call `changed` when something happened to any run, at most once in `every` milliseconds. */
export function useRunsChanged(changed: () => void, every = 500): void {
  useChanged((soon) => listen("", null, soon, soon), changed, every);
}

/** The same for training jobs, or one of them. */
export function useTrainingChanged(changed: () => void, name?: string, every = 200): void {
  useChanged(
    (soon) => listen("", null, (events) => {
      if (name === undefined || events.some((one) => one.body.name === name)) soon();
    }, soon, "training"),
    changed,
    every,
  );
}

function useChanged(begin: (soon: () => void) => () => void, changed: () => void, every: number): void {
  const latest = useRef(changed);
  latest.current = changed;
  useEffect(() => {
    let timer = 0;
    const stop = begin(() => {
      if (timer) return;
      timer = window.setTimeout(() => {
        timer = 0;
        latest.current();
      }, every);
    });
    return () => {
      stop();
      window.clearTimeout(timer);
    };
  }, []);
}
