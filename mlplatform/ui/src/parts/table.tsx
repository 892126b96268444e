/** A table of any length: only the rows in sight are in the document. */

import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

export interface Column<T> {
  id: string;
  title: ComponentChildren;
  /** A track of a CSS grid: "2fr", "96px", "minmax(120px, 1fr)". */
  width: string;
  cell: (row: T, at: number) => ComponentChildren;
  sort?: boolean;
  right?: boolean;
  /** The cell holds something that opens over its row. */
  free?: boolean;
  quiet?: boolean;
}

export interface Sorting {
  by: string;
  descending: boolean;
}

const ROW = 32;
const SPARE = 12;

export function Table<T>(props: {
  label: string;
  columns: Column<T>[];
  rows: T[];
  id: (row: T) => string;
  cursor?: string;
  selected?: (row: T) => boolean;
  onOpen?: (row: T) => void;
  sorting?: Sorting;
  onSort?: (by: string) => void;
  onEnd?: () => void;
  more?: boolean;
  /** Rows in all, if more are to come. */
  total?: number;
}) {
  const { columns, rows, cursor } = props;
  const box = useRef<HTMLDivElement>(null);
  const [range, setRange] = useState({ first: 0, last: 40 });

  const measure = () => {
    const element = box.current;
    if (!element) return;
    const first = Math.max(0, Math.floor(element.scrollTop / ROW) - SPARE);
    const last = Math.ceil((element.scrollTop + element.clientHeight) / ROW) + SPARE;
    setRange((old) => (Math.abs(old.first - first) < SPARE / 2 && Math.abs(old.last - last) < SPARE / 2 ? old : { first, last }));
    if (props.more && props.onEnd && last >= rows.length) props.onEnd();
  };

  const latest = useRef(measure);
  latest.current = measure;
  useLayoutEffect(measure, [rows.length]);
  useEffect(() => {
    const watch = new ResizeObserver(() => latest.current());
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    if (!cursor || !box.current) return;
    const at = rows.findIndex((row) => props.id(row) === cursor);
    if (at < 0) return;
    const { scrollTop, clientHeight } = box.current;
    if (at * ROW < scrollTop) box.current.scrollTop = at * ROW;
    else if ((at + 1) * ROW > scrollTop + clientHeight) box.current.scrollTop = (at + 1) * ROW - clientHeight;
  }, [cursor]);

  const tracks = columns.map((one) => one.width).join(" ");
  const shown = rows.slice(range.first, range.last);
  return (
    <div class="table grow" role="table" aria-label={props.label} aria-rowcount={(props.total ?? rows.length) + 1}>
      <div class="thead" role="rowgroup">
        <div class="tr" role="row" aria-rowindex={1} style={{ gridTemplateColumns: tracks }}>
          {columns.map((one) => (
            <div role="columnheader" key={one.id} class={one.right ? "num" : ""}
              aria-sort={props.sorting?.by === one.id ? (props.sorting.descending ? "descending" : "ascending") : undefined}>
              {one.sort && props.onSort ? (
                <button type="button" onClick={() => props.onSort!(one.id)}>
                  {one.title}
                </button>
              ) : (
                one.title
              )}
            </div>
          ))}
        </div>
      </div>
      <div class="rows" ref={box} onScroll={measure} tabIndex={0} role="rowgroup">
        <div class="tbody" style={{ height: `${rows.length * ROW}px` }}>
          {shown.map((row, offset) => {
            const at = range.first + offset;
            const name = props.id(row);
            return (
              <div class={`tr ${cursor === name ? "cursor" : ""}`} role="row" key={name} aria-rowindex={at + 2} data-row={name}
                aria-selected={props.selected?.(row) ? "true" : undefined}
                style={{ gridTemplateColumns: tracks, transform: `translateY(${at * ROW}px)` }}
                onClick={(event) => {
                  if (props.onOpen && !(event.target as HTMLElement).closest("a, button, input, select, label")) props.onOpen(row);
                }}>
                {columns.map((one) => (
                  <div role="cell" key={one.id} class={`td ${one.right ? "num" : ""} ${one.quiet ? "muted" : ""} ${one.free ? "free" : ""}`}>
                    {one.cell(row, at)}
                  </div>
                ))}
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}
