/** What the graph says of a node: states of one task, or of all its iterations together. */

import { duration } from "../base/format";
import { present } from "../base/clock";
import type { Plan } from "../graph/geometry";
import type { Told } from "../graph/graph";
import { ended, RunModel, shownState, together, type TaskRow } from "./model";

/** The iteration that is looked at: of the loops around `task`, outer first, and of `task` itself if it is a loop. */
export interface Choice {
  task: string;
  iteration: number[];
}

/** Loop -> index. */
export function chosenLoops(plan: Plan, choice: Choice): Map<string, number> {
  const around = plan.loops(choice.task);
  if (plan.nodes.get(choice.task)?.kind === "loop") around.push(choice.task);
  const found = new Map<string, number>();
  around.forEach((loop, at) => {
    const index = choice.iteration[at];
    if (index !== undefined) found.set(loop, index);
  });
  return found;
}

/** The indexes that are known of the loops around a node. */
export function prefix(plan: Plan, id: string, chosen: Map<string, number>): number[] {
  const found: number[] = [];
  for (const loop of plan.loops(id)) {
    const index = chosen.get(loop);
    if (index === undefined) break;
    found.push(index);
  }
  return found;
}

/** A node's own records (a loop's without those of its iterations), as far as iterations are chosen. */
export function rowsOf(model: RunModel, plan: Plan, id: string, chosen: Map<string, number>): TaskRow[] {
  const all = model.byPath.get(id);
  if (!all) return [];
  const depth = plan.loops(id).length;
  const start = prefix(plan, id, chosen);
  return all.filter((row) => row.iteration.length === depth && start.every((index, at) => row.iteration[at] === index));
}

/** The iterations of a loop (groups of their own). */
export function iterationsOf(model: RunModel, plan: Plan, id: string, chosen: Map<string, number>): TaskRow[] {
  const depth = plan.loops(id).length;
  const start = prefix(plan, id, chosen);
  return (model.byPath.get(id) ?? [])
    .filter((row) => row.iteration.length === depth + 1 && start.every((index, at) => row.iteration[at] === index))
    .sort((a, b) => a.iteration[depth]! - b.iteration[depth]!);
}

export function tellOf(model: RunModel, plan: Plan, id: string, chosen: Map<string, number>): Told {
  model.changed(id);
  const rows = rowsOf(model, plan, id, chosen);
  if (!rows.length) return { state: model.ready.value ? unplanned(model, plan, id, chosen) : null, note: "" };
  const state = together(rows);
  const notes: string[] = [];
  let share: number | undefined;
  const node = plan.nodes.get(id)!;
  if (node.kind === "loop") {
    const inside = iterationsOf(model, plan, id, chosen);
    const index = chosen.get(id);
    if (inside.length) {
      const done = inside.filter((row) => ended(row.state)).length;
      const bad = inside.filter((row) => row.state === "FAILED").length;
      if (index !== undefined && plan.isOpen(id)) notes.push(`iteration ${index} of ${inside.length}`);
      else notes.push(done < inside.length ? `${done}/${inside.length} iterations` : `${inside.length} iterations`);
      if (bad) notes.push(`${bad} failed`);
      if (done < inside.length) share = done / inside.length;
    }
  } else if (rows.length > 1) {
    const done = rows.filter((row) => ended(row.state)).length;
    const bad = rows.filter((row) => row.state === "FAILED").length;
    notes.push(done < rows.length ? `${done}/${rows.length}` : `${rows.length} times`);
    if (bad) notes.push(`${bad} failed`);
    if (done < rows.length) share = done / rows.length;
  } else {
    const row = rows[0]!;
    if (shownState(row) === "WAITING" || row.state === "RETRYING") notes.push(row.note || "waits");
    else if (row.state === "CACHED") notes.push("cached");
    else if (row.state === "SKIPPED") notes.push("skipped");
    else if (row.started !== null) notes.push(duration((row.finished ?? present()) - row.started));
    if (row.attempts > 1) notes.push(`retried ${row.attempts - 1}`);
    if (row.state === "FAILED" && row.error) notes.push(row.error);
  }
  return { state, note: notes.join(" · "), share };
}

/** Nothing is recorded of what is inside a skipped group, nor of what a run that ended never came to. */
function unplanned(model: RunModel, plan: Plan, id: string, chosen: Map<string, number>): string {
  for (const group of plan.ancestors(id)) {
    model.changed(group);
    const rows = rowsOf(model, plan, group, chosen);
    if (rows.length) return rows.every((row) => row.state === "SKIPPED") ? "SKIPPED" : "PENDING";
  }
  return model.run.value?.finished_at ? "SKIPPED" : "PENDING";
}

export function statesOf(model: RunModel, plan: Plan, chosen: Map<string, number>): Map<string, string> {
  void model.version.value;
  const found = new Map<string, string>();
  for (const id of Object.keys(plan.graph.layout.nodes)) {
    const rows = rowsOf(model, plan, id, chosen);
    found.set(id, rows.length ? together(rows) : unplanned(model, plan, id, chosen));
  }
  return found;
}
