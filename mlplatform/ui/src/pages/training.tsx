/** Training jobs: how far each is, what its ranks do, and what became of its time. */

import "../styles/run.css";
import "../styles/training.css";
import { url } from "../base/api";
import { duration } from "../base/format";
import { useShortcuts } from "../base/keys";
import { useTrainingChanged } from "../base/live";
import { refresh, useResource } from "../base/resource";
import { go, href, place, update, useTyped } from "../base/router";
import type { TrainingPage as Page, TrainingSummary } from "../base/training";
import { Ago, Empty, ErrorNotice, SkeletonRows, Took } from "../parts/basics";
import { Icon } from "../parts/icon";
import { StateWord } from "../parts/state";
import { Table, type Column } from "../parts/table";
import { Job } from "../training/job";
import { jobHref } from "../training/words";

function Ranks({ one }: { one: TrainingSummary }) {
  const { desired, ready, succeeded } = one.ranks;
  const at = one.finished_at === null ? ready + succeeded : succeeded;
  return <span title={`${ready} at work, ${succeeded} done, of ${desired}`}>{at}/{desired}</span>;
}

function Progress({ one }: { one: TrainingSummary }) {
  if (one.percent === null) return one.step === null ? null : <span>step {one.step}</span>;
  return (
    <span class="facts tight">
      <span class="progress" role="img" aria-label={`${one.percent} percent`}><span style={{ width: `${one.percent}%` }} /></span>
      {one.percent}%
    </span>
  );
}

const COLUMNS: Column<TrainingSummary>[] = [
  { id: "phase", title: "State", width: "104px", cell: (one) => <StateWord state={one.phase} /> },
  { id: "name", title: "Name", width: "minmax(140px, 1fr)", cell: (one) => <a href={jobHref(one.name)}>{one.name}</a> },
  { id: "ranks", title: "Ranks", width: "48px", right: true, cell: (one) => <Ranks one={one} /> },
  { id: "progress", title: "Progress", width: "112px", cell: (one) => <Progress one={one} /> },
  { id: "left", title: "Left", width: "56px", right: true, quiet: true, cell: (one) => one.finished_at === null && one.eta_seconds !== null ? duration(one.eta_seconds) : "" },
  { id: "checkpoint", title: "Saved", width: "56px", right: true, quiet: true, cell: (one) => one.checkpoint_step ?? "" },
  { id: "restarts", title: "Restarts", width: "60px", right: true, cell: (one) => one.restarts || "" },
  { id: "goodput", title: "Goodput", width: "60px", right: true, cell: (one) => one.goodput_percent === null ? "" : `${one.goodput_percent}%` },
  { id: "why", title: "Why", width: "minmax(160px, 2fr)", quiet: true, cell: (one) => <span title={one.message}>{one.message}</span> },
  { id: "took", title: "Took", width: "60px", right: true, cell: (one) => <Took from={one.started_at} to={one.finished_at} live /> },
  { id: "created", title: "Created", width: "72px", right: true, quiet: true, cell: (one) => <Ago at={one.created_at} /> },
];

export default function TrainingPage({ path }: { path: string[] }) {
  return path[0] ? <Job key={path[0]} name={path[0]} /> : <All />;
}

function All() {
  const { query } = place.value;
  const asked = query.get("q") ?? "";
  const cursor = query.get("at") ?? "";
  const [typed, type] = useTyped(asked, (q) => update({ q: q || null }));
  const address = url("training-jobs", { q: asked });
  const { data, error } = useResource<Page>(address);
  useTrainingChanged(() => void refresh(address));
  const rows = data?.training_jobs ?? [];
  const step = (by: number) => {
    const at = rows.findIndex((one) => one.name === cursor);
    const next = rows[Math.max(0, Math.min(rows.length - 1, at + by))];
    if (next) update({ at: next.name });
  };
  useShortcuts([
    { keys: "/", help: "Search", run: () => document.querySelector<HTMLInputElement>("[data-search]")?.focus() },
    { keys: "j", help: "Next row", run: () => step(1) },
    { keys: "k", help: "Row before", run: () => step(-1) },
    { keys: "Enter", help: "Open", run: () => cursor && go(jobHref(cursor)) },
  ]);
  return (
    <>
      <header class="head"><h1>Training jobs</h1></header>
      <div class="bar">
        <label class="search">
          <Icon name="search" size={14} />
          <input class="field" data-search type="search" placeholder="Search by name" aria-label="Search training jobs" value={typed}
            onInput={(event) => type(event.currentTarget.value)} />
        </label>
        {data && <span class="muted">{data.note || `${data.total} ${data.total === 1 ? "job" : "jobs"}`}</span>}
      </div>
      {error && <div class="bar"><ErrorNotice error={error} what="Training jobs could not be loaded." /></div>}
      {!data ? !error && <SkeletonRows /> : rows.length ? (
        <Table label="Training jobs" columns={COLUMNS} rows={rows} id={(one) => one.name} cursor={cursor}
          onOpen={(one) => go(jobHref(one.name))} />
      ) : asked ? (
        <Empty title="No training job has such a name"><a href={href(["training"])}>All training jobs</a></Empty>
      ) : (
        <Empty title="No training jobs yet" commands={["mlplatform train train.py --workers 2"]}>
          A training job is groups of ranks that start, fail and start again together, from the newest checkpoint. Create one from a
          file, from Python with <code>ml.TrainingJob(...).run()</code>, or as a task of a pipeline.
        </Empty>
      )}
    </>
  );
}
