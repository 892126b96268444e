/** All runs: search, filter, compare, things done to many. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, get, post, url } from "../base/api";
import { useShortcuts } from "../base/keys";
import { useRunsChanged } from "../base/live";
import { go, href, place, update, useTyped } from "../base/router";
import type { RunPage, RunSummary } from "../base/types";
import { counted, duration, short } from "../base/format";
import { now } from "../base/clock";
import { Ago, Copy, Dialog, Empty, ErrorNotice, failed, Menu, SkeletonRows, toast } from "../parts/basics";
import { Icon } from "../parts/icon";
import { LOOKS, Mark, StateWord } from "../parts/state";
import { Table, type Column } from "../parts/table";
import { inParts } from "../parts/work";

const STATES = ["RUNNING", "PENDING", "SUCCEEDED", "FAILED", "CANCELLED"];
/** Runs that one request does something to: few enough to be stopped soon. */
const A_PART = 20;
/** The most a page of the list may hold. */
const LARGEST = 500;
/** More would not fit into a table, nor into an address. */
const SIDE_BY_SIDE = 50;
const ACTIONS = {
  archive: { word: "archived", doing: "Archiving" },
  unarchive: { word: "brought back", doing: "Bringing back" },
  cancel: { word: "asked to end", doing: "Cancelling" },
  delete: { word: "deleted", doing: "Deleting" },
};
const SORTS: Record<string, string> = { name: "name", started: "created_at", took: "duration" };

interface List {
  runs: RunSummary[];
  next: string;
  counts: Record<string, number>;
  error: ApiError | null;
  ready: boolean;
}

const NOTHING: List = { runs: [], next: "", counts: {}, error: null, ready: false };
const kept = new Map<string, List>();

/** Pages of the list, one after the other; news replace what is shown without moving it. */
function useRuns(query: Record<string, string | string[]>) {
  const key = JSON.stringify(query);
  const [list, setList] = useState<List>(() => kept.get(key) ?? NOTHING);
  const busy = useRef(false);
  const current = useRef(key);
  const asked = useRef(0);
  const answered = useRef(0);
  current.current = key;

  const store = (next: List) => {
    if (current.current !== key) return;
    kept.clear();
    kept.set(key, next);
    setList(next);
  };
  const load = async (shown: number) => {
    const number = ++asked.current;
    try {
      const page = await get<RunPage>(url("runs", { ...query, limit: Math.min(500, Math.max(50, shown)) }));
      if (number < answered.current) return; // a later one was quicker
      answered.current = number;
      const old = kept.get(key)?.runs ?? [];
      const rest = page.next_cursor && old.length > page.runs.length ? old.slice(page.runs.length) : [];
      const known = new Set(page.runs.map((run) => run.run_id));
      const runs = [...page.runs, ...rest.filter((run) => !known.has(run.run_id))];
      store({ runs, next: rest.length ? (kept.get(key)?.next ?? "") : page.next_cursor, counts: page.counts, error: null, ready: true });
    } catch (error) {
      store({ ...(kept.get(key) ?? NOTHING), error: error as ApiError, ready: true });
      if ((error as ApiError).status === 0) window.setTimeout(() => current.current === key && void load(shown), 2000);
    }
  };
  useEffect(() => {
    setList(kept.get(key) ?? { ...NOTHING, counts: list.counts });
    void load(0);
  }, [key]);
  useRunsChanged(() => void load(kept.get(key)?.runs.length ?? 0));

  const more = async () => {
    const old = kept.get(key);
    if (busy.current || !old?.next) return;
    busy.current = true;
    try {
      const page = await get<RunPage>(url("runs", { ...query, limit: 100, cursor: old.next }));
      const known = new Set(old.runs.map((run) => run.run_id));
      store({ ...old, runs: [...old.runs, ...page.runs.filter((run) => !known.has(run.run_id))], next: page.next_cursor });
    } catch (error) {
      failed("More runs could not be loaded.", error);
    } finally {
      busy.current = false;
    }
  };
  return { list, more, reload: () => load(list.runs.length) };
}

export function runHref(id: string, query = {}): string {
  return href(["runs", "details", id], query);
}


export function Runs({ path }: { path: string[] }) {
  const query = place.value.query;
  const text = query.get("q") ?? "";
  const states = query.getAll("state");
  const archived = query.get("archived") === "1";
  const sort = query.get("sort") ?? "-created_at";
  const experiment = query.get("experiment") ?? path[0] ?? "";
  const pipeline = query.get("pipeline") ?? "";
  const [typed, type] = useTyped(text, (typed) => update({ q: typed }));
  /** Their states by their ids; also of runs that are not loaded into the list. */
  const [chosen, setChosen] = useState<Map<string, string>>(new Map());
  const [cursor, setCursor] = useState("");
  const [deleting, setDeleting] = useState(false);
  const asked = { q: text, state: states, archived: archived ? "true" : "", sort, experiment, pipeline };
  const { list, more, reload } = useRuns(asked);
  const total = Object.entries(list.counts).reduce((sum, [state, count]) => sum + (!states.length || states.includes(state) ? count : 0), 0);

  const selected = useMemo(() => {
    const now = new Map(list.runs.map((run) => [run.run_id, run.state as string]));
    return [...chosen].map(([id, state]) => ({ id, state: now.get(id) ?? state }));
  }, [list.runs, chosen]);
  const step = (by: number) => {
    const at = list.runs.findIndex((run) => run.run_id === cursor);
    const next = list.runs[Math.max(0, Math.min(list.runs.length - 1, at + by))];
    if (next) setCursor(next.run_id);
  };
  const flip = (id: string) => {
    const next = new Map(chosen);
    if (!next.delete(id)) next.set(id, list.runs.find((run) => run.run_id === id)?.state ?? "");
    setChosen(next);
  };
  const all = list.runs.length > 0 && list.runs.every((run) => chosen.has(run.run_id));
  const flipAll = () => setChosen(new Map(all ? [] : list.runs.map((run) => [run.run_id, run.state])));
  useShortcuts([
    { keys: "j", help: "Next row", run: () => step(1) },
    { keys: "k", help: "Row before", run: () => step(-1) },
    { keys: "Enter", help: "Open", run: () => cursor && go(runHref(cursor)) },
    { keys: "x", help: "Choose the row", run: () => cursor && flip(cursor) },
  ]);

  /** All that the search and the filters leave, also what is not loaded yet. */
  const chooseEvery = async () => {
    const found = new Map<string, string>();
    const pages = Math.max(1, Math.ceil(total / LARGEST));
    let cursor = "";
    try {
      await inParts("Looking for all of them", Array.from({ length: pages }), 1, async () => {
        if (found.size && !cursor) return;
        const page = await get<RunPage>(url("runs", { ...asked, limit: LARGEST, cursor }));
        for (const run of page.runs) found.set(run.run_id, run.state);
        cursor = page.next_cursor;
      });
    } catch (error) {
      failed("Not all of them were found.", error);
    }
    setChosen(found);
  };

  const bulk = async (action: keyof typeof ACTIONS) => {
    const ids = selected.map((run) => run.id);
    const { word, doing } = ACTIONS[action];
    const done: string[] = [];
    const wrong: [string, string][] = [];
    try {
      await inParts(`${doing} ${counted(ids.length, "run")}`, ids, A_PART, async (part) => {
        const told = await post<{ done: string[]; failed: Record<string, string> }>(url("runs/bulk"), { action, run_ids: part });
        done.push(...told.done);
        wrong.push(...Object.entries(told.failed));
      });
    } catch (error) {
      failed(done.length ? `Only ${counted(done.length, "run")} ${word}.` : "Nothing was changed.", error);
    }
    const came = new Set([...done, ...wrong.map(([id]) => id)]);
    const left = ids.filter((id) => !came.has(id));
    if (done.length || left.length) toast(<p>{`${counted(done.length, "run")} ${word}.${left.length ? ` ${left.length.toLocaleString("en")} left as they were.` : ""}`}</p>);
    if (wrong.length) {
      toast(
        <>
          <p><strong>{`${counted(wrong.length, "run")} could not be ${word}.`}</strong></p>
          {wrong.slice(0, 4).map(([id, why]) => (
            <p key={id}><code>{short(id)}</code> {why}</p>
          ))}
        </>,
        "bad",
        15,
      );
    }
    setChosen(new Map(left.map((id) => [id, chosen.get(id) ?? ""])));
    await reload();
  };

  const columns: Column<RunSummary>[] = [
    {
      id: "choose", width: "16px",
      title: <input type="checkbox" aria-label="Choose all that are shown" checked={all} onChange={flipAll} />,
      cell: (run) => (
        <input type="checkbox" aria-label={`Choose ${run.name}`} checked={chosen.has(run.run_id)} onChange={() => flip(run.run_id)} />
      ),
    },
    { id: "state", title: "State", width: "104px", cell: (run) => <StateWord state={run.state} /> },
    {
      id: "name", title: "Name", width: "minmax(160px, 2.2fr)", sort: true,
      cell: (run) => (
        <>
          <a href={runHref(run.run_id)}>{run.name || run.run_id}</a>{" "}
          {Object.entries(run.tags).slice(0, 3).map(([name, value]) => (
            <span class="chip" key={name}>{value ? `${name}=${value}` : name}</span>
          ))}
          {run.error && <span class="muted"> {run.error.message}</span>}
        </>
      ),
    },
    { id: "pipeline", title: "Pipeline", width: "minmax(100px, 1fr)", quiet: true, cell: (run) => run.pipeline },
    { id: "experiment", title: "Experiment", width: "minmax(80px, 0.8fr)", quiet: true, cell: (run) => run.experiment },
    ...(list.runs.some((run) => run.progress) ? [{
      id: "progress", title: "Tasks", width: "136px",
      cell: (run) =>
        run.progress && (
          <>
            <Bar done={run.progress.done} total={run.progress.total} /> {run.progress.done}/{run.progress.total}
          </>
        ),
    } as Column<RunSummary>] : []),
    {
      id: "took", title: "Duration", width: "76px", right: true, sort: true,
      cell: (run) => run.started_at !== null && duration((run.finished_at ?? now.value) - run.started_at),
    },
    { id: "started", title: "Created", width: "84px", right: true, sort: true, quiet: true, cell: (run) => <Ago at={run.created_at} /> },
    { id: "id", title: "Id", width: "96px", quiet: true, cell: (run) => (
      <span class="copy"><code>{short(run.run_id)}</code><Copy text={run.run_id} label="Copy run id" /></span>
    ) },
  ];

  const by = sort.replace("-", "");
  const filtered = !!(text || states.length || archived || experiment || pipeline);
  return (
    <>
      <header class="head">
        <h1>{archived ? "Archived runs" : "Runs"}</h1>
        <div class="actions">
          <a class="btn" href="#/pipelines">New run</a>
          <Menu label="More" items={[
            { label: archived ? "Show runs in use" : "Show archived runs", run: () => update({ archived: archived ? null : "1" }, false) },
            { label: "Copy: mlplatform runs list", run: () => void navigator.clipboard?.writeText("mlplatform runs list") },
          ]} />
        </div>
      </header>
      <div class="bar">
        <div class="search">
          <Icon name="search" size={14} />
          <input class="field" type="search" data-search placeholder="Search runs" aria-label="Search runs" value={typed}
            onInput={(event) => type(event.currentTarget.value)} />
        </div>
        <div class="seg" role="group" aria-label="Filter by state">
          {STATES.map((one) => (
            <button type="button" key={one} aria-pressed={states.includes(one)}
              onClick={() => update({ state: states.includes(one) ? states.filter((other) => other !== one) : [...states, one] })}>
              <Mark state={one} /> {LOOKS[one as keyof typeof LOOKS].word}
              <span class="muted">{list.counts[one] ?? 0}</span>
            </button>
          ))}
        </div>
        {experiment && <Filter name="experiment" value={experiment} clear={() => (path[0] ? go("#/runs") : update({ experiment: null }))} />}
        {pipeline && <Filter name="pipeline" value={pipeline} clear={() => update({ pipeline: null })} />}
        {selected.length > 0 && (
          <div class="bulk" role="group" aria-label="Chosen runs">
            <span>{counted(selected.length, "run")} chosen</span>
            {all && selected.length < total && list.next && <button type="button" class="btn small" onClick={() => void chooseEvery()}>{`Choose all ${total.toLocaleString("en")}`}</button>}
            {selected.length <= SIDE_BY_SIDE && <a class="btn small primary" href={href(["compare"], { run: selected.map((run) => run.id) })}>Compare</a>}
            <button type="button" class="btn small" onClick={() => void bulk("cancel")}
              disabled={!selected.some((run) => ["PENDING", "RUNNING"].includes(run.state))}>Cancel</button>
            <button type="button" class="btn small" onClick={() => void bulk(archived ? "unarchive" : "archive")}>
              {archived ? "Bring back" : "Archive"}
            </button>
            <button type="button" class="btn small danger" onClick={() => setDeleting(true)}>Delete</button>
            <button type="button" class="btn small quiet" onClick={() => setChosen(new Map())}>Clear</button>
          </div>
        )}
      </div>
      {list.error && (
        <div class="bar">
          <ErrorNotice error={list.error} what="Runs could not be loaded." />
        </div>
      )}
      {!list.ready ? (
        <SkeletonRows count={12} />
      ) : list.runs.length ? (
        <Table label="Runs" columns={columns} rows={list.runs} id={(run) => run.run_id} cursor={cursor}
          selected={(run) => chosen.has(run.run_id)} onOpen={(run) => go(runHref(run.run_id))}
          sorting={{ by: Object.keys(SORTS).find((name) => SORTS[name] === by) ?? "", descending: sort.startsWith("-") }}
          onSort={(id) => update({ sort: sort === `-${SORTS[id]}` ? SORTS[id] : `-${SORTS[id]}` })}
          more={!!list.next} onEnd={() => void more()} />
      ) : list.error ? null : filtered ? (
        <Empty title="No run fits">
          Nothing here has all of these words and states. <a href="#/runs">Show all runs</a>
        </Empty>
      ) : (
        <Empty title="No runs yet" commands={["mlplatform run pipeline.yaml", "mlplatform demo"]}>
          Run a pipeline or a notebook and it appears here while it runs. To see what that is like, try the demonstration.
        </Empty>
      )}
      {deleting && (
        <Dialog title={`Delete ${counted(selected.length, "run")}?`} onClose={() => setDeleting(false)} footer={
          <>
            <button type="button" class="btn" onClick={() => setDeleting(false)}>Keep</button>
            <button type="button" class="btn danger" onClick={() => {
              setDeleting(false);
              void bulk("delete");
            }}>Delete for good</button>
          </>
        }>
          <p>Their records, logs and the artifacts that no other run uses are removed. This cannot be undone; archiving can.</p>
        </Dialog>
      )}
    </>
  );
}

function Filter({ name, value, clear }: { name: string; value: string; clear: () => void }) {
  return (
    <span class="chip">
      {name}: {value}
      <button type="button" aria-label={`Remove the filter ${name}`} onClick={clear}>
        <Icon name="close" size={12} />
      </button>
    </span>
  );
}

export function Bar({ done, total }: { done: number; total: number }) {
  return (
    <span class="progress" aria-hidden="true">
      <span style={{ width: `${total ? (100 * done) / total : 0}%` }} />
    </span>
  );
}

