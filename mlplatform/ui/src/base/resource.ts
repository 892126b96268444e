/** Data of a page: shown at once if it was seen before, fetched anew, kept while a newer answer is under way. */

import { signal, type Signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { ApiError, get } from "./api";

export interface Resource<T> {
  data: T | undefined;
  error: ApiError | undefined;
  loading: boolean;
}

const seen = new Map<string, Signal<Resource<any>>>();
const KEPT = 40;

function entry<T>(address: string): Signal<Resource<T>> {
  let found = seen.get(address);
  if (found === undefined) {
    found = signal<Resource<T>>({ data: undefined, error: undefined, loading: false });
    seen.set(address, found);
    if (seen.size > KEPT) seen.delete(seen.keys().next().value as string);
  }
  return found;
}

const running = new Map<string, Promise<void>>();
const waiting = new Map<string, Promise<void>>();

/** Fetch again, because something changed; what is shown stays until the answer is here. An answer that is under way may
 * be of before the change: then it is asked for once more behind it. */
export function refresh(address: string): Promise<void> {
  const under = running.get(address);
  if (!under) return load(address);
  let next = waiting.get(address);
  if (!next) {
    next = under.then(() => {
      waiting.delete(address);
      return load(address);
    });
    waiting.set(address, next);
  }
  return next;
}

function load(address: string): Promise<void> {
  const under = running.get(address);
  if (under) return under;
  const into = entry<unknown>(address);
  into.value = { ...into.peek(), loading: true };
  const done = get<unknown>(address)
    .then((data) => {
      into.value = { data, error: undefined, loading: false };
    })
    .catch((error: ApiError) => {
      into.value = { data: into.peek().data, error, loading: false };
      if (error.status === 0) window.setTimeout(() => void refresh(address), 2000);
    })
    .finally(() => running.delete(address));
  running.set(address, done);
  return done;
}

/** Subscribe a component to an address; null fetches nothing. */
export function useResource<T>(address: string | null): Resource<T> {
  const found = useMemo(() => (address === null ? null : entry<T>(address)), [address]);
  useEffect(() => {
    if (address !== null) void load(address);
  }, [address]);
  return found === null ? { data: undefined, error: undefined, loading: false } : found.value;
}
