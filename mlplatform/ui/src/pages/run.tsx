/** One run: graph, timeline and table of the same tasks, and beside them what is known of the one that is looked at. */

import "../styles/run.css";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { part, post, remove, request, url } from "../base/api";
import { counted } from "../base/format";
import { useShortcuts } from "../base/keys";
import { useResource } from "../base/resource";
import { go, href, place, update } from "../base/router";
import type { Graph, RunDetail } from "../base/types";
import { Plan } from "../graph/geometry";
import { GraphView } from "../graph/graph";
import { Ago, Dialog, ErrorNotice, failed, Id, Menu, SkeletonRows, toast, Took, copyText } from "../parts/basics";
import { Icon } from "../parts/icon";
import { look, Mark, StateWord } from "../parts/state";
import { RunModel, shownState, type TaskRow } from "../run/model";
import { chosenLoops, prefix, statesOf, tellOf } from "../run/nodes";
import { close, openRun, TaskPanel } from "../run/panel";
import { RunPanel } from "../run/summary";
import { Tasks } from "../run/tasks";
import { Timeline } from "../run/timeline";

const VIEWS = [
  { id: "graph", title: "Graph" },
  { id: "timeline", title: "Timeline" },
  { id: "table", title: "Table" },
];
/** Graphs with more nodes than this open with their groups closed. */
const WHOLE = 60;

export default function RunPage({ path }: { path: string[] }) {
  const id = path[0]!;
  const model = useMemo(() => new RunModel(id), [id]);
  useEffect(() => () => model.close(), [model]);
  const run = model.run.value;
  useEffect(() => {
    if (run) document.title = `${look(run.state).word}: ${run.name} · mlplatform`;
  }, [run?.state, run?.name]);
  if (model.error.value && !run) {
    return (
      <div class="page">
        <ErrorNotice error={model.error.value} what="The run could not be loaded." />
        <p><a href="#/runs">All runs</a></p>
      </div>
    );
  }
  if (!run || !model.ready.value) {
    return (
      <>
        <header class="head"><span class="skeleton w1" /></header>
        <SkeletonRows count={10} />
      </>
    );
  }
  return <Loaded model={model} run={run} />;
}

/** The drawing for the groups that are open now; the one before stays until it is here. */
function usePlan(id: string, toggled: string[], reveal: string): { plan: Plan | null; error: unknown; closed: Set<string> } {
  const base = url(`runs/${part(id)}/graph`);
  const whole = useResource<Graph>(base);
  const closed = useMemo(() => {
    const found = new Set<string>();
    if (!whole.data) return found;
    const groups = new Set(whole.data.nodes.map((node) => node.parent).filter(Boolean));
    if (whole.data.nodes.length > WHOLE) groups.forEach((group) => found.add(group));
    for (const group of toggled) if (!found.delete(group) && groups.has(group)) found.add(group);
    // what is selected is in sight, unless its group was closed by hand
    const parts = reveal.split("/");
    for (let at = 1; at < parts.length; at++) {
      const group = parts.slice(0, at).join("/");
      if (!toggled.includes(group)) found.delete(group);
    }
    return found;
  }, [whole.data, toggled.join("|"), reveal]);
  const outer = [...closed].filter((group) => !group.split("/").some((_, at, all) => at > 0 && closed.has(all.slice(0, at).join("/"))));
  const address = outer.length ? url(`runs/${part(id)}/graph`, { collapsed: outer.sort() }) : base;
  const part_ = useResource<Graph>(whole.data ? address : null);
  const data = outer.length ? part_.data : whole.data;
  const last = useRef<Plan | null>(null);
  const plan = useMemo(() => (data ? new Plan(data) : null), [data]);
  if (plan) last.current = plan;
  return { plan: plan ?? last.current, error: whole.error ?? part_.error, closed };
}

function Loaded({ model, run }: { model: RunModel; run: RunDetail }) {
  const query = place.value.query;
  const view = query.get("view") ?? "graph";
  const find = query.get("find") ?? "";
  const states = query.getAll("state");
  const toggled = query.getAll("fold");
  let task = query.get("task") ?? "";
  const iteration = (query.get("i") ?? "").split(",").filter(Boolean).map(Number);

  // A failed run opens at its failure, unless the address asks for something else.
  const opened = useRef(false);
  const failure = useRef<TaskRow | null>(null);
  if (!opened.current) {
    opened.current = true;
    if (!task && query.get("panel") !== "run" && run.state === "FAILED") failure.current = model.firstFailure();
  }
  useEffect(() => {
    const first = failure.current;
    if (first) update({ task: first.path, i: first.iteration.join(",") });
  }, []);
  if (!task && failure.current && !query.has("task")) task = failure.current.path;

  const { plan, error, closed } = usePlan(run.run_id, toggled, task);
  const chosen = useMemo(() => (plan ? chosenLoops(plan, { task, iteration }) : new Map<string, number>()), [plan, task, iteration.join()]);
  const selectedId = task + iteration.map((index) => `[${index}]`).join("");
  const showRun = query.get("panel") === "run";

  const selectNode = (id: string) => {
    if (!id) return close();
    if (!plan) return;
    const known = new Map(chosen);
    update({ task: id, i: prefix(plan, id, known).join(","), panel: null });
  };
  const selectRow = (row: TaskRow) => update({ task: row.path, i: row.iteration.join(","), panel: null });
  const toggle = (group: string) => update({ fold: toggled.includes(group) ? toggled.filter((one) => one !== group) : [...toggled, group] });
  void closed;

  useShortcuts([
    { keys: "Escape", help: "Close the panel", run: () => (showRun ? update({ panel: null }) : close()) },
    { keys: "l", help: "Logs of the task", run: () => task && update({ tab: "logs" }) },
    { keys: "i", help: "About the run", run: () => update({ panel: showRun ? null : "run" }) },
    { keys: "1", help: "Graph", run: () => update({ view: null }, false) },
    { keys: "2", help: "Timeline", run: () => update({ view: "timeline" }, false) },
    { keys: "3", help: "Table", run: () => update({ view: "table" }, false) },
    { keys: "Enter", help: "Open the panel of the first task", run: () => !task && plan?.seen[0] && selectNode(plan.seen[0]) },
  ]);

  const act = useActions(model, run);
  return (
    <>
      <Head model={model} run={run} act={act} />
      <div class="bar">
        <div class="seg" role="group" aria-label="View">
          {VIEWS.map((one) => (
            <button type="button" key={one.id} aria-pressed={one.id === view} onClick={() => update({ view: one.id === "graph" ? null : one.id }, false)}>
              <Icon name={one.id} size={14} /> {one.title}
            </button>
          ))}
        </div>
        <div class="search">
          <Icon name="search" size={14} />
          <Search find={find} submit={() => {
            const hit = plan && find ? plan.seen.find((id) => id !== task && matches(id, find)) ?? [...plan.nodes.keys()].find((id) => matches(id, find)) : null;
            if (view === "graph" && hit) selectNode(hit);
          }} />
        </div>
        <StateFilter model={model} states={states} />
        <span class="grow" />
        <button type="button" class="btn" aria-pressed={showRun} onClick={() => update({ panel: showRun ? null : "run" })}>About the run</button>
      </div>
      <div class="run">
        <div class="left">
          {view === "graph" ? (
            plan ? (
              <GraphView plan={plan} label={`Graph of ${run.name}: ${counted(plan.nodes.size, "task")}; j and k move, the table has the same`}
                selected={task} select={selectNode} toggle={toggle} focus={task || null}
                tell={(id) => tellOf(model, plan, id, chosen)} states={() => statesOf(model, plan, chosen)} />
            ) : error ? (
              <div class="page"><ErrorNotice error={error} what="The graph could not be drawn. The table has the same tasks." /></div>
            ) : (
              <SkeletonRows count={6} />
            )
          ) : (
            <Listed model={model} plan={plan} view={view} find={find} states={states} selected={selectedId} select={selectRow} />
          )}
        </div>
        {showRun ? (
          <RunPanel model={model} run={run} />
        ) : task ? (
          <TaskPanel model={model} plan={plan} task={task} iteration={iteration} tab={query.get("tab") ?? "overview"} chosen={chosen} act={act} />
        ) : null}
      </div>
    </>
  );
}

function matches(text: string, find: string): boolean {
  return text.toLowerCase().includes(find.toLowerCase());
}

function Listed({ model, plan, view, find, states, selected, select }: {
  model: RunModel; plan: Plan | null; view: string; find: string; states: string[]; selected: string; select: (row: TaskRow) => void;
}) {
  const version = model.version.value;
  const rows = useMemo(
    () => model.leaves().filter((row) => (!find || matches(row.id, find)) && (!states.length || states.includes(shownState(row)))),
    [version, find, states.join()],
  );
  const title = (row: TaskRow) => (plan ? plan.title(row.path) : row.path) + row.iteration.map((index) => `[${index}]`).join("");
  return view === "timeline" ? (
    <Timeline model={model} rows={rows} selected={selected} select={select} title={title} />
  ) : (
    <Tasks rows={rows} selected={selected} select={select} title={title} />
  );
}

function Search({ find, submit }: { find: string; submit: () => void }) {
  return (
    <input class="field" type="search" data-search placeholder="Find a task" aria-label="Find a task" value={find}
      onInput={(event) => update({ find: event.currentTarget.value })}
      onKeyDown={(event) => event.key === "Enter" && submit()} />
  );
}

function StateFilter({ model, states }: { model: RunModel; states: string[] }) {
  void model.version.value;
  const counts = model.counts();
  const all = [...new Set([...Object.keys(counts), ...states])].sort();
  const view = place.value.query.get("view") ?? "graph";
  return (
    <div class="facts" role="group" aria-label="Tasks by state">
      {all.map((state) => (
        <button type="button" class="btn quiet small" key={state} aria-pressed={states.includes(state)} title={`${look(state).word}: show in the table`}
          onClick={() => update({
            state: states.includes(state) ? states.filter((one) => one !== state) : [...states, state],
            view: view === "graph" ? "table" : view,
          })}>
          <Mark state={state} /> {look(state).word} {counts[state] ?? 0}
        </button>
      ))}
    </div>
  );
}

interface Actions {
  resume: (() => void) | null;
  cancel: ((force: boolean) => void) | null;
  rerun: (cache: boolean) => void;
  archive: () => void;
  drop: () => void;
}

function useActions(model: RunModel, run: RunDetail): Actions {
  const address = `runs/${part(run.run_id)}`;
  const finished = ["SUCCEEDED", "FAILED", "CANCELLED"].includes(run.state);
  const attempt = async (what: string, work: () => Promise<unknown>) => {
    try {
      await work();
    } catch (error) {
      failed(what, error);
    }
  };
  return {
    resume: run.state === "FAILED" || run.state === "CANCELLED"
      ? () => void attempt("The run could not be resumed.", async () => {
          await post(url(`${address}/resume`));
          toast(<p>The run goes on; what succeeded stays.</p>);
          await model.load();
        })
      : null,
    cancel: finished ? null : (force) => void attempt("The run could not be cancelled.", () => post(url(`${address}/cancel`), { force })),
    rerun: (cache) => void attempt("The run could not be started.", async () => {
      const made = await post<{ run_id: string }>(url(`${address}/rerun`), { cache });
      openRun(made.run_id);
    }),
    archive: () => void attempt("Nothing was changed.", async () => {
      await request("PATCH", url(address), { archived: !run.archived });
      await model.reload();
      toast(<p>{run.archived ? "Brought back." : "Archived: it is in the list of archived runs."}</p>);
    }),
    drop: () => void attempt("The run was not deleted.", async () => {
      await remove(url(address));
      go("#/runs");
    }),
  };
}

function Head({ model, run, act }: { model: RunModel; run: RunDetail; act: Actions }) {
  const [dropping, setDropping] = useState(false);
  void model;
  const live = run.finished_at === null;
  return (
    <header class="head">
      <a class="btn quiet icon" href="#/runs" aria-label="All runs" title="All runs"><Icon name="back" /></a>
      <div class="headline">
        <div class="top">
          <StateWord state={run.state} />
          <h1 class="cut">{run.name || run.run_id}</h1>
          {run.archived && <span class="chip">archived</span>}
        </div>
        <div class="facts">
          <span>{run.pipeline}</span>
          {run.experiment && <a href={href(["runs"], { experiment: run.experiment })}>{run.experiment}</a>}
          <Took from={run.started_at} to={run.finished_at} live={live} />
          <Ago at={run.created_at} />
          <Id id={run.run_id} label="run id" />
        </div>
      </div>
      <div class="actions">
        {act.resume && <button type="button" class="btn primary" onClick={act.resume}>Resume</button>}
        {act.cancel && run.state !== "CANCELLING" && <button type="button" class="btn" onClick={() => act.cancel!(false)}><Icon name="stop" size={14} /> Cancel</button>}
        {act.cancel && run.state === "CANCELLING" && <button type="button" class="btn danger" onClick={() => act.cancel!(true)}>Kill now</button>}
        <button type="button" class="btn" onClick={() => act.rerun(true)}><Icon name="again" size={14} /> Run again</button>
        {run.mlflow && <a class="btn" href={run.mlflow} target="_blank" rel="noopener">MLflow</a>}
        <Menu label="More" items={[
          { label: "Run again without the cache", run: () => act.rerun(false) },
          { label: "Compare with others", run: () => go(href(["compare"], { run: [run.run_id] })) },
          { label: run.archived ? "Bring back" : "Archive", run: act.archive },
          "-",
          ...Object.entries(run.commands).map(([, text]) => ({ label: `Copy: ${text.replace(run.run_id, run.run_id.slice(0, 8))}`, run: () => void copyText(text) })),
          "-" as const,
          { label: "Delete", run: () => setDropping(true), danger: true, disabled: live },
        ]} />
      </div>
      {dropping && (
        <Dialog title="Delete this run?" onClose={() => setDropping(false)} footer={
          <>
            <button type="button" class="btn" onClick={() => setDropping(false)}>Keep</button>
            <button type="button" class="btn danger" onClick={act.drop}>Delete for good</button>
          </>
        }>
          <p>Its record, logs and the artifacts that no other run uses are removed. This cannot be undone; archiving can.</p>
        </Dialog>
      )}
    </header>
  );
}

