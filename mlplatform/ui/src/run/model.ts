/** The tasks of one run, as one answer of the server and the events after it. Graph, timeline and table read it. */

import { batch, signal, type Signal } from "@preact/signals";
import { get, part, url, type ApiError } from "../base/api";
import { listen } from "../base/live";
import type { LiveEvent, RunDetail, TaskState, TaskTable } from "../base/types";

export interface TaskRow {
  /** "loop/train[3]": how the command line calls it too. */
  id: string;
  path: string;
  iteration: number[];
  state: TaskState;
  group: boolean;
  component: string;
  attempts: number;
  created: number | null;
  started: number | null;
  finished: number | null;
  note: string;
  error: string;
}

export function taskId(path: string, iteration: number[]): string {
  return path + iteration.map((index) => `[${index}]`).join("");
}

const ENDED = new Set(["SUCCEEDED", "CACHED", "FAILED", "SKIPPED", "CANCELLED"]);
export const ended = (state: string) => ENDED.has(state);

/** What to show: a task that is ready or pending with a reason to tell waits. */
export function shownState(row: TaskRow): string {
  return (row.state === "QUEUED" || row.state === "PENDING") && row.note ? "WAITING" : row.state;
}

export class RunModel {
  readonly run = signal<RunDetail | null>(null);
  readonly error = signal<ApiError | null>(null);
  readonly ready = signal(false);
  /** Grows with every change of any task. */
  readonly version = signal(0);
  readonly rows = new Map<string, TaskRow>();
  /** Everything recorded of a node of the graph: one row, or one an iteration. */
  readonly byPath = new Map<string, TaskRow[]>();
  private readonly changes = new Map<string, Signal<number>>();
  private stop: (() => void) | null = null;
  private seq = 0;
  private closed = false;
  private again = 0;
  private slow = 0;

  constructor(readonly id: string) {
    void this.load();
    // Unseen, a tab has no stream; its title tells the state all the same.
    this.slow = window.setInterval(() => {
      if (document.hidden && this.run.peek()?.finished_at === null) void this.reload();
    }, 20_000);
  }

  close(): void {
    this.closed = true;
    this.stop?.();
    window.clearTimeout(this.again);
    window.clearInterval(this.slow);
  }

  /** Read it to hear of changes of one node. */
  changed(path: string): number {
    let found = this.changes.get(path);
    if (!found) this.changes.set(path, (found = signal(0)));
    return found.value;
  }

  async load(): Promise<void> {
    try {
      const [run, table] = await Promise.all([
        get<RunDetail>(url(`runs/${part(this.id)}`)),
        get<TaskTable>(url(`runs/${part(this.id)}/tasks`)),
      ]);
      if (this.closed) return;
      batch(() => {
        this.run.value = run;
        this.error.value = null;
        this.fill(table);
        this.ready.value = true;
      });
      this.seq = Math.min(run.seq, table.seq);
      this.stop?.();
      this.stop = listen(run.run_id, this.seq, (events) => this.take(events), () => void this.load());
    } catch (error) {
      if (this.closed) return;
      this.error.value = error as ApiError;
      if ((error as ApiError).status === 0) this.again = window.setTimeout(() => void this.load(), 1500);
    }
  }

  /** The run's own record anew: its outputs, note, tags. */
  async reload(): Promise<void> {
    try {
      const found = await get<RunDetail>(url(`runs/${part(this.id)}`));
      // An event may have overtaken the answer; it has asked for another.
      if (found.seq >= (this.run.peek()?.seq ?? 0)) this.run.value = found;
    } catch {
      // the stream tells that the server is away
    }
  }

  private fill(table: TaskTable): void {
    const { columns, dictionaries, base } = table;
    const word = (name: keyof typeof dictionaries, at: number) => (at < 0 ? "" : dictionaries[name][at]!);
    const time = (value: number | null) => (value === null ? null : base + value / 1000);
    this.rows.clear();
    this.byPath.clear();
    for (let at = 0; at < columns.name.length; at++) {
      const path = word("name", columns.name[at]!);
      const iteration = columns.iteration[at]!;
      this.put({
        id: taskId(path, iteration),
        path,
        iteration,
        state: word("state", columns.state[at]!) as TaskState,
        group: columns.group[at] === 1,
        component: word("component", columns.component[at]!),
        attempts: columns.attempts[at]!,
        created: time(columns.created[at]!),
        started: time(columns.started[at]!),
        finished: time(columns.finished[at]!),
        note: word("note", columns.note[at]!),
        error: word("error", columns.error[at]!),
      });
    }
    for (const one of this.changes.values()) one.value++;
    this.version.value++;
  }

  private put(row: TaskRow): void {
    const before = this.rows.get(row.id);
    this.rows.set(row.id, row);
    const beside = this.byPath.get(row.path);
    if (!beside) this.byPath.set(row.path, [row]);
    else if (before) beside[beside.indexOf(before)] = row;
    else beside.push(row);
  }

  private take(events: LiveEvent[]): void {
    let finished = false;
    batch(() => {
      const touched = new Set<string>();
      for (const event of events) {
        if (event.kind === "run") {
          const run = this.run.peek();
          if (run && run.run_id === event.run_id) {
            this.run.value = { ...run, seq: event.seq, state: event.body.state ?? run.state, error: event.body.error ?? null };
            finished = true;
          }
        } else if (event.kind === "task") {
          const body = event.body;
          const id = taskId(body.name, body.iteration);
          const old = this.rows.get(id);
          this.put({
            id,
            path: body.name,
            iteration: body.iteration,
            state: body.state,
            group: body.is_group,
            component: old?.component ?? "",
            attempts: body.attempt,
            created: old?.created ?? event.at,
            started: body.started_at,
            finished: body.finished_at,
            note: body.note ?? "",
            error: body.error?.message ?? "",
          });
          touched.add(body.name);
        }
      }
      for (const path of touched) {
        const one = this.changes.get(path);
        if (one) one.value++;
      }
      if (touched.size) this.version.value++;
    });
    if (finished) void this.reload();
  }

  /** Leaf tasks by what is shown of them. */
  counts(): Record<string, number> {
    const found: Record<string, number> = {};
    for (const row of this.rows.values()) {
      if (row.group) continue;
      const state = shownState(row);
      found[state] = (found[state] ?? 0) + 1;
    }
    return found;
  }

  leaves(): TaskRow[] {
    return [...this.rows.values()].filter((row) => !row.group);
  }

  /** The task that a failed run opens at: the first that failed. */
  firstFailure(): TaskRow | null {
    let found: TaskRow | null = null;
    for (const row of this.rows.values()) {
      if (row.group || row.state !== "FAILED") continue;
      if (!found || (row.finished ?? Infinity) < (found.finished ?? Infinity)) found = row;
    }
    return found;
  }
}

/** One word for many rows: what somebody would want to know first. */
export function together(rows: TaskRow[]): string {
  if (rows.length === 1) return shownState(rows[0]!);
  if (rows.length === 0) return "PENDING";
  const seen = new Set(rows.map(shownState));
  for (const state of ["FAILED", "RUNNING", "RETRYING", "WAITING", "QUEUED", "PENDING", "CANCELLED"]) {
    if (seen.has(state)) return state === "PENDING" || state === "QUEUED" ? (rows.some((r) => ended(r.state)) ? "RUNNING" : state) : state;
  }
  if (seen.size === 1) return [...seen][0]!;
  return seen.has("SUCCEEDED") || seen.has("CACHED") ? "SUCCEEDED" : "SKIPPED";
}
