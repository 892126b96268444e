/** The graph's twin: every task in a table. */

import { useMemo } from "preact/hooks";
import { now } from "../base/clock";
import { duration } from "../base/format";
import { useShortcuts } from "../base/keys";
import { place, update } from "../base/router";
import { Ago, Empty } from "../parts/basics";
import { StateWord } from "../parts/state";
import { Table, type Column } from "../parts/table";
import { shownState, type TaskRow } from "./model";

const took = (row: TaskRow) => (row.started === null ? -1 : (row.finished ?? now.peek()) - row.started);
const ORDER: Record<string, (a: TaskRow, b: TaskRow) => number> = {
  state: (a, b) => shownState(a).localeCompare(shownState(b)),
  task: (a, b) => a.path.localeCompare(b.path) || compare(a.iteration, b.iteration),
  took: (a, b) => took(a) - took(b),
  started: (a, b) => (a.started ?? Infinity) - (b.started ?? Infinity),
  attempts: (a, b) => a.attempts - b.attempts,
};

function compare(a: number[], b: number[]): number {
  for (let at = 0; at < Math.max(a.length, b.length); at++) {
    const by = (a[at] ?? -1) - (b[at] ?? -1);
    if (by) return by;
  }
  return 0;
}

const columns = (title: (row: TaskRow) => string): Column<TaskRow>[] => [
  { id: "state", title: "State", width: "108px", sort: true, cell: (row) => <StateWord state={shownState(row)} /> },
  { id: "task", title: "Task", width: "minmax(180px, 2fr)", sort: true, cell: (row) => <span title={row.id}>{title(row)}</span> },
  { id: "component", title: "Component", width: "minmax(90px, 1fr)", quiet: true, cell: (row) => row.component },
  { id: "took", title: "Duration", width: "80px", right: true, sort: true, cell: (row) => row.started !== null && duration((row.finished ?? now.value) - row.started) },
  { id: "started", title: "Started", width: "84px", right: true, sort: true, quiet: true, cell: (row) => <Ago at={row.started} /> },
  { id: "attempts", title: "Attempts", width: "72px", right: true, sort: true, cell: (row) => row.attempts || "" },
  { id: "note", title: "Why", width: "minmax(120px, 2fr)", quiet: true, cell: (row) => <span title={row.error || row.note}>{row.error || row.note}</span> },
];

export function Tasks({ rows, selected, select, title }: {
  rows: TaskRow[];
  selected: string;
  select: (row: TaskRow) => void;
  title: (row: TaskRow) => string;
}) {
  const sort = place.value.query.get("sort") ?? "";
  const by = sort.replace("-", "");
  const ordered = useMemo(() => {
    const order = ORDER[by];
    if (!order) return rows;
    const found = [...rows].sort(order);
    return sort.startsWith("-") ? found.reverse() : found;
  }, [rows, sort]);
  const move = (step: number) => {
    const at = ordered.findIndex((row) => row.id === selected);
    const next = ordered[at < 0 ? 0 : Math.max(0, Math.min(ordered.length - 1, at + step))];
    if (next) select(next);
  };
  useShortcuts([
    { keys: "j", help: "Next task", run: () => move(1) },
    { keys: "k", help: "Task before", run: () => move(-1) },
  ]);
  if (!rows.length) return <Empty title="No task fits">None has this name and state. Or none was planned yet.</Empty>;
  return (
    <Table label="Tasks" columns={columns(title)} rows={ordered} id={(row) => row.id} cursor={selected} selected={(row) => row.id === selected}
      onOpen={select} sorting={{ by, descending: sort.startsWith("-") }}
      onSort={(id) => update({ sort: sort === id ? `-${id}` : sort === `-${id}` ? null : id })} />
  );
}
