/** What is known of the task that is looked at. */

import { useEffect, useRef } from "preact/hooks";
import { part, url } from "../base/api";
import { now } from "../base/clock";
import { counted, duration, short } from "../base/format";
import { refresh, useResource } from "../base/resource";
import { go, href, place, update } from "../base/router";
import { panelWidth } from "../base/settings";
import type { TaskDetail } from "../base/types";
import type { Plan } from "../graph/geometry";
import { Ago, Command, Copy, ErrorNotice, SkeletonRows, Tabs, Took } from "../parts/basics";
import { Icon } from "../parts/icon";
import { Metrics, Preview } from "../parts/preview";
import { Source } from "../parts/source";
import { Mark, StateWord } from "../parts/state";
import { Values, isArtifact } from "../parts/values";
import { jobHref } from "../training/words";
import { LogView } from "./log";
import { ended, shownState, together, type RunModel, type TaskRow } from "./model";
import { iterationsOf, rowsOf } from "./nodes";

export function taskPath(run: string, task: string): string {
  return `runs/${part(run)}/tasks/${task.split("/").map(part).join("/")}`;
}

function logPath(run: string, kind: string, task: string): string {
  return `runs/${part(run)}/${kind}/${task.split("/").map(part).join("/")}`;
}

/** The frame: its width can be dragged, or set with the arrow keys. */
export function Panel({ children, label }: { children: preact.ComponentChildren; label: string }) {
  const box = useRef<HTMLElement>(null);
  const limit = (value: number) => Math.round(Math.max(320, Math.min(1100, value)));
  const drag = (event: PointerEvent) => {
    const grip = event.currentTarget as HTMLElement;
    grip.setPointerCapture(event.pointerId);
    const right = box.current!.getBoundingClientRect().right;
    const move = (moved: PointerEvent) => (panelWidth.value = limit(right - moved.clientX));
    grip.addEventListener("pointermove", move);
    grip.addEventListener("pointerup", () => grip.removeEventListener("pointermove", move), { once: true });
  };
  return (
    <aside class="panel" ref={box} aria-label={label} style={{ width: `${panelWidth.value}px` }}>
      <button type="button" class="grip" role="separator" aria-orientation="vertical" aria-label="Width of the panel"
        aria-valuenow={panelWidth.value} aria-valuemin={320} aria-valuemax={1100} onPointerDown={drag}
        onKeyDown={(event) => {
          const by = event.key === "ArrowLeft" ? 24 : event.key === "ArrowRight" ? -24 : 0;
          if (by) panelWidth.value = limit(panelWidth.value + by);
        }} />
      {children}
    </aside>
  );
}

export function close(): void {
  update({ task: null, i: null, tab: null });
}

export function TaskPanel({ model, plan, task, iteration, tab, chosen, act }: {
  model: RunModel;
  plan: Plan | null;
  task: string;
  iteration: number[];
  tab: string;
  chosen: Map<string, number>;
  act: { resume: (() => void) | null };
}) {
  model.changed(task);
  const row = exact(model, plan, task, iteration, chosen);
  const rows = plan ? rowsOf(model, plan, task, chosen) : row ? [row] : [];
  const name = row?.id ?? task;
  return (
    <Panel label={`Task ${name}`}>
      <div class="title">
        <Mark state={row ? shownState(row) : together(rows)} label />
        <h2 class="cut grow" title={name}>
          {plan?.nodes.get(task)?.name ?? task.split("/").pop()}
          {iteration.length > 0 && <span class="muted"> [{iteration.join("][")}]</span>}
        </h2>
        <Copy text={name} label="Copy the task's name" />
        <button type="button" class="btn quiet small icon" aria-label="Close the panel" title="Close (Esc)" onClick={close}><Icon name="close" size={14} /></button>
      </div>
      {row ? (
        <Detail key={row.id} model={model} plan={plan} row={row} tab={tab} chosen={chosen} act={act} />
      ) : (
        <div class="tabbody">
          <div class="inside"><Many model={model} plan={plan} task={task} rows={rows} chosen={chosen} /></div>
        </div>
      )}
    </Panel>
  );
}

/** The one record that is meant, if there is one. */
function exact(model: RunModel, plan: Plan | null, task: string, iteration: number[], chosen: Map<string, number>): TaskRow | null {
  const wanted = model.rows.get(task + iteration.map((index) => `[${index}]`).join(""));
  if (wanted) return wanted;
  if (!plan) return null;
  const rows = rowsOf(model, plan, task, chosen);
  return rows.length === 1 ? rows[0]! : null;
}

function Cells({ rows, current, choose }: { rows: TaskRow[]; current: string; choose: (row: TaskRow) => void }) {
  return (
    <div class="cells" role="group" aria-label="Iterations">
      {rows.slice(0, 2000).map((row) => {
        const state = shownState(row);
        const label = `${row.iteration.join(", ")}: ${state.toLowerCase()}${row.error ? `, ${row.error}` : ""}`;
        return (
          <button type="button" key={row.id} class={`is-${state}`} title={label} aria-label={`Iteration ${label}`}
            aria-pressed={row.id === current} onClick={() => choose(row)} />
        );
      })}
      {rows.length > 2000 && <span class="muted">and {rows.length - 2000} more; the table has all</span>}
    </div>
  );
}

function chooseRow(row: TaskRow): void {
  update({ task: row.path, i: row.iteration.join(",") });
}

function Many({ model, plan, task, rows, chosen }: {
  model: RunModel; plan: Plan | null; task: string; rows: TaskRow[]; chosen: Map<string, number>;
}) {
  if (!rows.length) {
    const node = plan?.nodes.get(task);
    if (plan && !node) return <p class="why">This run has no task <code>{task}</code>. The table lists all it has.</p>;
    const over = model.run.value?.finished_at;
    return (
      <>
        <p class="why">{over ? "It was never reached: a group around it was skipped, or the run ended before." : "Not planned yet: what comes before it decides whether, and how often, it runs."}</p>
        {node?.detail && <p><code>{node.detail}</code></p>}
      </>
    );
  }
  const times = rows.filter((row) => row.started !== null && row.finished !== null).map((row) => row.finished! - row.started!).sort((a, b) => a - b);
  const middle = times[Math.floor(times.length / 2)];
  void chosen;
  return (
    <>
      <section>
        <h3>{counted(rows.length, "iteration")}</h3>
        <Cells rows={rows} current="" choose={chooseRow} />
      </section>
      <Counts rows={rows} />
      {middle !== undefined && (
        <dl class="kv">
          <dt>Shortest</dt><dd>{duration(times[0])}</dd>
          <dt>Median</dt><dd>{duration(middle)}</dd>
          <dt>Longest</dt><dd>{duration(times[times.length - 1])}</dd>
        </dl>
      )}
      <FailedOnes rows={rows} />
    </>
  );
}

function Counts({ rows }: { rows: TaskRow[] }) {
  const found = new Map<string, number>();
  for (const row of rows) found.set(shownState(row), (found.get(shownState(row)) ?? 0) + 1);
  return (
    <div class="facts">
      {[...found].map(([state, count]) => (
        <span class="state" key={state}><StateWord state={state} /> <span>{count}</span></span>
      ))}
    </div>
  );
}

function FailedOnes({ rows }: { rows: TaskRow[] }) {
  const bad = rows.filter((row) => row.state === "FAILED");
  if (!bad.length) return null;
  return (
    <section>
      <h3>Failed</h3>
      <ul>
        {bad.slice(0, 20).map((row) => (
          <li key={row.id} class="cut">
            <button type="button" class="btn quiet small" onClick={() => chooseRow(row)}>{row.id}</button>{" "}
            <span class="muted">{row.error}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

const NOTEBOOK = /notebook|\.ipynb|html/i;

function Detail({ model, plan, row, tab, chosen, act }: {
  model: RunModel; plan: Plan | null; row: TaskRow; tab: string; chosen: Map<string, number>; act: { resume: (() => void) | null };
}) {
  const run = model.run.value!.run_id;
  const address = url(taskPath(run, row.path), { iteration: row.iteration.join(",") });
  const { data, error } = useResource<TaskDetail>(address);
  const version = `${row.state} ${row.attempts} ${row.note}`;
  const seen = useRef(version);
  useEffect(() => {
    if (seen.current === version) return;
    seen.current = version;
    void refresh(address);
  }, [version, address]);
  const iterations = plan && plan.nodes.get(row.path)?.kind === "loop" ? iterationsOf(model, plan, row.path, chosen) : [];
  const notebook = data && !row.group ? notebookOf(data) : null;
  const tabs = row.group
    ? [{ id: "overview", title: "Overview" }, { id: "io", title: "Inputs and outputs" }]
    : [
        { id: "overview", title: "Overview" },
        { id: "io", title: "Inputs and outputs" },
        { id: "logs", title: "Logs" },
        { id: "code", title: "Code" },
        ...(notebook ? [{ id: "notebook", title: "Notebook" }] : []),
      ];
  const current = tabs.some((one) => one.id === tab) ? tab : "overview";
  return (
    <>
      <Tabs tabs={tabs} chosen={current} label="About the task" choose={(id) => update({ tab: id === "overview" ? null : id })} />
      {error && !data && <div class="inside"><ErrorNotice error={error} what="The task could not be loaded." /></div>}
      {current === "logs" ? (
        <Logs run={run} row={row} detail={data} />
      ) : (
        <div class="tabbody" role="tabpanel" aria-label={current} tabIndex={0}>
          {!data && !error && <SkeletonRows count={5} />}
          {data && current === "overview" && <Overview model={model} row={row} detail={data} iterations={iterations} act={act} />}
          {data && current === "io" && (
            <div class="inside">
              <section><h3>Inputs</h3><Values values={data.inputs} none="It has none." /></section>
              <section><h3>Outputs</h3><Values values={data.outputs} none={ended(row.state) ? "It has none." : "None yet."} /></section>
            </div>
          )}
          {data && current === "code" && <CodeTab detail={data} />}
          {data && current === "notebook" && notebook && <div class="inside"><Preview uri={notebook} tall /></div>}
        </div>
      )}
    </>
  );
}

function notebookOf(detail: TaskDetail): string | null {
  if (detail.code?.kind !== "notebook") return null;
  for (const [name, value] of Object.entries(detail.outputs)) {
    if (isArtifact(value) && (NOTEBOOK.test(name) || NOTEBOOK.test(value.type))) return value.uri;
  }
  return null;
}

function Overview({ model, row, detail, iterations, act }: {
  model: RunModel; row: TaskRow; detail: TaskDetail; iterations: TaskRow[]; act: { resume: (() => void) | null };
}) {
  const error = detail.error;
  const run = model.run.value!;
  return (
    <div class="inside">
      <div class="facts">
        <StateWord state={shownState(row)} />
        {row.started !== null && <Took from={row.started} to={row.finished} live={!ended(row.state)} />}
        {row.started !== null && <Ago at={row.started} />}
        {row.attempts > 1 && <span>{counted(row.attempts, "attempt")}</span>}
      </div>
      {error && (
        <section>
          <p><strong>{error.message}</strong></p>
          {error.hint && <p class="why">{error.hint}</p>}
          {error.traceback && <Trace text={error.traceback} />}
        </section>
      )}
      {(error || detail.commands.replay) && (
        <div class="buttons">
          {error && act.resume && <button type="button" class="btn primary" onClick={act.resume}>Resume the run</button>}
          {error && <button type="button" class="btn" onClick={() => update({ tab: "logs" })}>Logs</button>}
          {detail.commands.replay && <Copied text={detail.commands.replay} title="Replay in a notebook" />}
        </div>
      )}
      {detail.why && <section><h3>Why</h3><p class="why">{detail.why}</p></section>}
      {detail.waiting_for && row.state !== "RUNNING" && !detail.why.includes(detail.waiting_for) && <section><h3>Waits for</h3><p class="why">{detail.waiting_for}</p></section>}
      {iterations.length > 0 && (
        <section>
          <h3>{counted(iterations.length, "iteration")}</h3>
          <Cells rows={iterations} current={row.id} choose={chooseRow} />
        </section>
      )}
      {iterations.length > 0 && <Counts rows={iterations} />}
      {row.group && iterations.length === 0 && <Inside model={model} row={row} />}
      {detail.training && (
        <p><a href={jobHref(detail.training)}>Training job {detail.training}</a>: ranks, progress, checkpoints, logs by rank</p>
      )}
      {detail.attempts.length > 0 && <Attempts detail={detail} />}
      {Object.keys(detail.metrics).length > 0 && <section><h3>Metrics</h3><Metrics metrics={detail.metrics} /></section>}
      {!row.group && detail.attempts.length > 0 && (
        <section>
          <h3>Cost</h3>
          <p class="why">
            {duration(detail.cost.seconds)} of one process
            {Object.entries(detail.cost.asked).map(([name, value]) => `, ${name} ${value}`).join("")}
          </p>
        </section>
      )}
      {(detail.mlflow || Object.keys(detail.commands).length > 0) && (
        <section>
          <h3>On the command line</h3>
          {detail.mlflow && <p><a href={detail.mlflow} target="_blank" rel="noopener">In MLflow</a></p>}
          <div class="stack">
            {Object.entries(detail.commands).filter(([name, text]) => text && name !== "replay").map(([name, text]) => <Command key={name} text={text} />)}
          </div>
        </section>
      )}
      <p class="muted">Component <code>{detail.component || "none"}</code> of run <code>{short(run.run_id)}</code></p>
    </div>
  );
}

function Copied({ text, title }: { text: string; title: string }) {
  return (
    <span class="chip" title={text}>{title}<Copy text={text} label={`Copy: ${title}`} /></span>
  );
}

/** The last lines are what one looks for: they are in sight, the rest above them. */
function Trace({ text }: { text: string }) {
  const box = useRef<HTMLPreElement>(null);
  useEffect(() => {
    if (box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text]);
  return <pre class="trace" ref={box} tabIndex={0} aria-label="Traceback">{text.trimEnd()}</pre>;
}

function Attempts({ detail }: { detail: TaskDetail }) {
  return (
    <section>
      <h3>Attempts</h3>
      <table class="plain">
        <thead><tr><th>No.</th><th>State</th><th class="num">Duration</th><th>Started</th><th>Exit</th></tr></thead>
        <tbody>
          {detail.attempts.map((one) => (
            <tr key={one.attempt}>
              <td>{one.attempt}</td>
              <td><StateWord state={one.state} /></td>
              <td class="num">{one.started_at !== null && duration((one.finished_at ?? now.value) - one.started_at)}</td>
              <td class="muted"><Ago at={one.started_at} /></td>
              <td class="muted">{one.exit_code ?? ""}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** A group: what is in it, as a list that leads on. */
function Inside({ model, row }: { model: RunModel; row: TaskRow }) {
  void model.version.value;
  const found = [...model.rows.values()].filter(
    (one) => one.path.startsWith(`${row.path}/`) && !one.path.slice(row.path.length + 1).includes("/") && row.iteration.every((index, at) => one.iteration[at] === index),
  );
  if (!found.length) return null;
  return (
    <section>
      <h3>Inside</h3>
      <ul class="stack">
        {found.slice(0, 60).map((one) => (
          <li key={one.id} class="facts">
            <StateWord state={shownState(one)} />
            <button type="button" class="btn quiet small" onClick={() => chooseRow(one)}>{one.id.slice(row.path.length + 1)}</button>
            <Took from={one.started} to={one.finished} live={!ended(one.state)} />
          </li>
        ))}
        {found.length > 60 && <li class="muted">and {found.length - 60} more</li>}
      </ul>
    </section>
  );
}

function CodeTab({ detail }: { detail: TaskDetail }) {
  const code = detail.code;
  if (!code || code.kind === "group") return <div class="inside"><p class="muted">A group has no code of its own.</p></div>;
  return (
    <div class="inside">
      <dl class="kv">
        <dt>Kind</dt><dd>{code.kind}</dd>
        {code.image && <><dt>Image</dt><dd><code>{code.image}</code></dd></>}
        {code.packages.length > 0 && <><dt>Packages</dt><dd><code>{code.packages.join(" ")}</code></dd></>}
        {code.command.length > 0 && <><dt>Command</dt><dd><code>{code.command.join(" ")}</code></dd></>}
        {code.args.length > 0 && <><dt>Arguments</dt><dd><code>{code.args.join(" ")}</code></dd></>}
      </dl>
      {code.source && <Source text={code.source} />}
    </div>
  );
}

function Logs({ run, row, detail }: { run: string; row: TaskRow; detail: TaskDetail | undefined }) {
  const attempts = detail?.attempts ?? [];
  const wanted = place.value.query.get("attempt");
  const last = attempts[attempts.length - 1]?.attempt ?? row.attempts;
  const attempt = Number(wanted) || last;
  if (!attempt) {
    return <div class="inside"><p class="muted">{row.state === "CACHED" ? `Its result was reused${detail?.cached_from ? ` from ${detail.cached_from}` : ""}: it printed nothing here.` : "It has not begun."}</p></div>;
  }
  const query = { iteration: row.iteration.join(","), attempt };
  return (
    <>
      {attempts.length > 1 && (
        <div class="bar">
          <div class="seg" role="group" aria-label="Attempt">
            {attempts.map((one) => (
              <button type="button" key={one.attempt} aria-pressed={one.attempt === attempt}
                onClick={() => update({ attempt: one.attempt === last ? null : one.attempt })}>
                <Mark state={one.state} /> attempt {one.attempt}
              </button>
            ))}
          </div>
        </div>
      )}
      <div class="tabbody still" role="tabpanel" aria-label="logs">
        <LogView key={attempt} ask={url(logPath(run, "logs", row.path), query)} file={url(logPath(run, "log-files", row.path), query)}
          live={!ended(row.state) && attempt === last} />
      </div>
    </>
  );
}

export function openRun(id: string): void {
  go(href(["runs", "details", id]));
}
