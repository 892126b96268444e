/** Runs side by side: what went in, what came out, and a plot of one against the other. */

import "../styles/run.css";
import { useMemo, useState } from "preact/hooks";
import { url } from "../base/api";
import { duration, oneLine } from "../base/format";
import { useResource } from "../base/resource";
import { href, place, update } from "../base/router";
import type { Json, RunPage, RunSummary } from "../base/types";
import { Ago, Empty, ErrorNotice, SkeletonRows } from "../parts/basics";
import { Icon } from "../parts/icon";
import { StateWord } from "../parts/state";

interface Compared {
  run: RunSummary;
  parameters: Record<string, Json>;
  outputs: Record<string, Json>;
  metrics: Record<string, number>;
  truncated: boolean;
}

export default function Compare(_: { path: string[] }) {
  const ids = place.value.query.getAll("run");
  const { data, error } = useResource<{ runs: Compared[] }>(ids.length ? url("compare", { run: ids }) : null);
  const runs = data?.runs ?? [];
  return (
    <>
      <header class="head">
        <h1>Compare</h1>
        <div class="actions"><Add ids={ids} /></div>
      </header>
      <div class="body">
        {!ids.length ? (
          <Empty title="Nothing to compare yet" commands={["mlplatform run pipeline.yaml -p lr=0.1", "mlplatform run pipeline.yaml -p lr=0.2"]}>
            Choose runs in the <a href="#/runs">list</a> and press Compare, or add one above. Their parameters, outputs and metrics
            are laid side by side.
          </Empty>
        ) : error && !data ? <div class="page"><ErrorNotice error={error} what="The runs could not be compared." /></div>
          : !data ? <SkeletonRows /> : <Side runs={runs} />}
      </div>
    </>
  );
}

/** One more run, by its name. */
function Add({ ids }: { ids: string[] }) {
  const { data } = useResource<RunPage>(url("runs", { limit: 100 }));
  const rest = (data?.runs ?? []).filter((run) => !ids.includes(run.run_id));
  return (
    <select class="field" aria-label="Add a run" value="" onChange={(event) => event.currentTarget.value && update({ run: [...ids, event.currentTarget.value] })}>
      <option value="">Add a run</option>
      {rest.map((run) => <option key={run.run_id} value={run.run_id}>{run.name}</option>)}
    </select>
  );
}

function names(all: Record<string, unknown>[]): string[] {
  return [...new Set(all.flatMap((one) => Object.keys(one)))];
}

function Side({ runs }: { runs: Compared[] }) {
  const only = place.value.query.get("only") === "1";
  const ids = runs.map((one) => one.run.run_id);
  const section = (title: string, of: (one: Compared) => Record<string, Json>) => {
    const all = runs.map(of);
    const rows = names(all).filter((name) => !only || new Set(all.map((one) => JSON.stringify(one[name]))).size > 1);
    if (!rows.length) return null;
    return (
      <tbody>
        <tr><th colSpan={runs.length + 1} scope="colgroup" class="part">{title}</th></tr>
        {rows.slice(0, 400).map((name) => {
          const differs = new Set(all.map((one) => JSON.stringify(one[name]))).size > 1;
          return (
            <tr key={name} class={differs ? "differs" : ""}>
              <th scope="row" title={name}>{name}</th>
              {all.map((one, at) => <td key={at}>{one[name] === undefined ? <span class="muted">–</span> : <code title={oneLine(one[name])}>{oneLine(one[name])}</code>}</td>)}
            </tr>
          );
        })}
        {rows.length > 400 && <tr><td colSpan={runs.length + 1} class="muted">and {rows.length - 400} more</td></tr>}
      </tbody>
    );
  };
  return (
    <div class="compare">
      <div class="bar">
        <label class="form"><span class="check"><input type="checkbox" checked={only} onChange={() => update({ only: only ? null : "1" })} /> Only what differs</span></label>
      </div>
      <div class="scroll" tabIndex={0} role="region" aria-label="Runs side by side">
        <table class="plain side">
          <thead>
            <tr>
              <th><span class="sr">What</span></th>
              {runs.map((one) => (
                <th key={one.run.run_id} scope="col">
                  <div class="facts"><a href={href(["runs", "details", one.run.run_id])}>{one.run.name}</a>
                    <button type="button" class="btn quiet small icon" aria-label={`Leave out ${one.run.name}`} onClick={() => update({ run: ids.filter((id) => id !== one.run.run_id) })}><Icon name="close" size={12} /></button></div>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            <tr><th scope="row">State</th>{runs.map((one) => <td key={one.run.run_id}><StateWord state={one.run.state} /></td>)}</tr>
            <tr><th scope="row">Duration</th>{runs.map((one) => <td key={one.run.run_id}>{one.run.started_at !== null && one.run.finished_at !== null ? duration(one.run.finished_at - one.run.started_at) : ""}</td>)}</tr>
            <tr><th scope="row">Created</th>{runs.map((one) => <td key={one.run.run_id}><Ago at={one.run.created_at} /></td>)}</tr>
          </tbody>
          {section("Parameters", (one) => one.parameters)}
          {section("Outputs", (one) => one.outputs)}
          {section("Metrics", (one) => gathered(one.metrics))}
        </table>
      </div>
      <Plots runs={runs} />
    </div>
  );
}

/** Of a loop's iterations one row: from the least to the greatest. The plot shows them one by one. */
function gathered(metrics: Record<string, number>): Record<string, Json> {
  const found: Record<string, Json> = {};
  const many = new Map<string, number[]>();
  for (const [name, value] of Object.entries(metrics)) {
    const all = name.replace(/\[\d+\]/g, "[·]");
    if (all === name) found[name] = value;
    else many.set(all, [...(many.get(all) ?? []), value]);
  }
  for (const [name, values] of many) {
    found[name] = `${Math.min(...values)} to ${Math.max(...values)}, ${values.length} times`;
  }
  return found;
}

const WIDTH = 520;
const HEIGHT = 260;
const EDGE = { left: 64, right: 16, top: 12, bottom: 36 };

/** One number of each run against another; where a loop logged a metric, its course over the iterations. */
function Plots({ runs }: { runs: Compared[] }) {
  const numbers = useMemo(() => {
    const of = (one: Compared): Record<string, number> => ({
      ...Object.fromEntries(Object.entries(one.parameters).filter(([, value]) => typeof value === "number").map(([name, value]) => [`parameter ${name}`, value as number])),
      ...Object.fromEntries(Object.entries(one.outputs).filter(([, value]) => typeof value === "number").map(([name, value]) => [`output ${name}`, value as number])),
      ...one.metrics,
    });
    return runs.map(of);
  }, [runs]);
  const flat = names(numbers).filter((name) => !name.includes("["));
  const series = [...new Set(names(numbers).filter((name) => /\[\d+\]/.test(name)).map((name) => name.replace(/\[\d+\]/, "[·]")))].filter((name) => !name.replace("[·]", "").includes("["));
  const [x, setX] = useState("");
  const [y, setY] = useState("");
  const xName = x || flat[0] || "";
  const yName = y || flat.find((name) => name !== xName) || series[0] || "";
  if (!flat.length && !series.length) return null;
  const isSeries = series.includes(yName);
  const lines = numbers.map((one) => isSeries
    ? Object.entries(one).filter(([name]) => name.replace(/\[\d+\]/, "[·]") === yName).map(([name, value]) => [Number(/\[(\d+)\]/.exec(name)![1]), value] as [number, number]).sort((a, b) => a[0] - b[0])
    : one[xName] !== undefined && one[yName] !== undefined ? [[one[xName]!, one[yName]!] as [number, number]] : []);
  const all = lines.flat();
  const span = (at: 0 | 1): [number, number] => {
    const values = all.map((point) => point[at]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return low === high ? [low - 1, high + 1] : [low, high];
  };
  const [[x0, x1], [y0, y1]] = [span(0), span(1)];
  const px = (value: number) => EDGE.left + ((value - x0) / (x1 - x0)) * (WIDTH - EDGE.left - EDGE.right);
  const py = (value: number) => HEIGHT - EDGE.bottom - ((value - y0) / (y1 - y0)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const tick = (value: number) => Number(value.toPrecision(3)).toString();
  return (
    <section class="page">
      <h2>Plot</h2>
      <div class="bar flush">
        <label class="facts">Up <select class="field" value={yName} onChange={(event) => setY(event.currentTarget.value)}>
          {[...flat, ...series].map((name) => <option key={name} value={name}>{name}</option>)}
        </select></label>
        {!isSeries && <label class="facts">across <select class="field" value={xName} onChange={(event) => setX(event.currentTarget.value)}>
          {flat.map((name) => <option key={name} value={name}>{name}</option>)}
        </select></label>}
      </div>
      {all.length ? (
        <svg class="plot" width={WIDTH} height={HEIGHT} role="img" aria-label={`${yName} ${isSeries ? "over iterations" : `against ${xName}`}; the table above has the numbers`}>
          <path class="axis" d={`M${EDGE.left} ${EDGE.top}V${HEIGHT - EDGE.bottom}H${WIDTH - EDGE.right}`} />
          {[x0, (x0 + x1) / 2, x1].map((value) => <text key={`x${value}`} x={px(value)} y={HEIGHT - EDGE.bottom + 16} text-anchor="middle">{tick(value)}</text>)}
          {[y0, (y0 + y1) / 2, y1].map((value) => <text key={`y${value}`} x={EDGE.left - 6} y={py(value) + 4} text-anchor="end">{tick(value)}</text>)}
          <text x={(EDGE.left + WIDTH) / 2} y={HEIGHT - 4} text-anchor="middle">{isSeries ? "iteration" : xName}</text>
          {lines.map((line, at) => (
            <g key={at} class={`c${at % 6}`}>
              <title>{runs[at]!.run.name}</title>
              {isSeries && <polyline class={`series c${at % 6}`} points={line.map((point) => `${px(point[0])},${py(point[1])}`).join(" ")} />}
              {(line.length < 60 ? line : []).map((point) => <circle key={point[0]} class={`dotmark c${at % 6}`} cx={px(point[0])} cy={py(point[1])} r={isSeries ? 2.5 : 5} />)}
            </g>
          ))}
        </svg>
      ) : <p class="muted">No run has both of these.</p>}
      <div class="facts">{runs.map((one, at) => <span key={one.run.run_id} class="state"><span class={`swatch c${at % 6}`} />{one.run.name}</span>)}</div>
    </section>
  );
}
