/** When every task waited and ran. */

import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { now } from "../base/clock";
import { absolute, duration } from "../base/format";
import { useShortcuts } from "../base/keys";
import { Empty } from "../parts/basics";
import { Mark } from "../parts/state";
import { ended, shownState, type RunModel, type TaskRow } from "./model";

const ROW = 24;
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 6 * 3600, 12 * 3600, 86400, 7 * 86400];

export function Timeline({ model, rows, selected, select, title }: {
  model: RunModel;
  rows: TaskRow[];
  selected: string;
  select: (row: TaskRow) => void;
  title: (row: TaskRow) => string;
}) {
  const box = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState({ first: 0, last: 60 });
  const run = model.run.value!;
  const ordered = useMemo(
    () => rows.filter((row) => row.started !== null || !ended(row.state))
      .sort((a, b) => (a.created ?? 0) - (b.created ?? 0) || (a.started ?? Infinity) - (b.started ?? Infinity)),
    [rows],
  );
  const alive = run.finished_at === null;
  const begin = run.created_at;
  const end = Math.max(begin + 0.5, alive ? now.value : Math.max(run.finished_at!, ...ordered.slice(-1).map((row) => row.finished ?? 0)));
  const span = end - begin;
  const step = STEPS.find((one) => span / one <= 8) ?? span / 8;
  const share = (time: number) => `${Math.max(0, Math.min(100, ((time - begin) / span) * 100))}%`;

  const measure = () => {
    const element = box.current;
    if (!element) return;
    const first = Math.max(0, Math.floor(element.scrollTop / ROW) - 10);
    const last = Math.ceil((element.scrollTop + element.clientHeight) / ROW) + 10;
    setAt((old) => (old.first === first && old.last === last ? old : { first, last }));
  };
  useLayoutEffect(measure, [ordered.length]);
  const move = (by: number) => {
    const where = ordered.findIndex((row) => row.id === selected);
    const next = ordered[where < 0 ? 0 : Math.max(0, Math.min(ordered.length - 1, where + by))];
    if (next) select(next);
  };
  useShortcuts([
    { keys: "j", help: "Next task", run: () => move(1) },
    { keys: "k", help: "Task before", run: () => move(-1) },
  ]);
  if (!ordered.length) return <Empty title="Nothing has begun">Tasks appear here as soon as they wait or run.</Empty>;

  const ticks: number[] = [];
  for (let time = 0; time <= span; time += step) ticks.push(time);
  return (
    <div class="timeline grow">
      <div class="axis" aria-hidden="true">
        <div class="lane">
          <span class="who" />
          <div class="track">
            {ticks.map((time) => (
              <span key={time} style={{ left: share(begin + time) }}>{time ? duration(time) : "0"}</span>
            ))}
          </div>
        </div>
      </div>
      <div class="rows" ref={box} onScroll={measure} tabIndex={0} role="list" aria-label="Timeline of tasks">
        <div style={{ height: `${ordered.length * ROW}px` }} role="presentation" />
        {ordered.slice(at.first, at.last).map((row, offset) => {
          const state = shownState(row);
          const took = row.started !== null ? (row.finished ?? end) - row.started : null;
          const label = `${title(row)}, ${state.toLowerCase()}${took !== null ? `, ${duration(took)}` : ""}`;
          return (
            <div role="listitem" key={row.id}>
              <button type="button" class="lane" aria-current={row.id === selected ? "true" : undefined}
                title={row.started !== null ? `${label}\nfrom ${absolute(row.started)}` : label}
                style={{ transform: `translateY(${(at.first + offset) * ROW}px)` }} onClick={() => select(row)}>
                <span class="who"><Mark state={state} label /><span class="cut">{title(row)}</span></span>
                <span class="track">
                  {row.created !== null && (row.started ?? end) > row.created && (
                    <span class="wait" style={{ left: share(row.created), width: `${(((row.started ?? end) - row.created) / span) * 100}%` }} />
                  )}
                  {row.started !== null && (
                    <>
                      <span class={`bar is-${row.state}`} style={{ left: share(row.started), width: `${(took! / span) * 100}%` }} />
                      {(row.finished ?? end) - begin < span * 0.92 && (
                        <span class="long" style={{ left: share(row.finished ?? end) }}>{duration(took)}</span>
                      )}
                    </>
                  )}
                </span>
              </button>
            </div>
          );
        })}
      </div>
    </div>
  );
}
