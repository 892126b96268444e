/** Runs that are made by the clock: when next, whether they run, what went wrong. */

import "../styles/run.css";
import { useState } from "preact/hooks";
import { part, patch, remove, url } from "../base/api";
import { absolute, period } from "../base/format";
import { useShortcuts } from "../base/keys";
import { useRunsChanged } from "../base/live";
import { refresh, useResource } from "../base/resource";
import { go, href } from "../base/router";
import type { Recurring, RunPage } from "../base/types";
import { Ago, Dialog, Empty, ErrorNotice, failed, Id, Notice, SkeletonRows, Took } from "../parts/basics";
import { Icon } from "../parts/icon";
import { Mark, StateWord } from "../parts/state";
import { Table, type Column } from "../parts/table";
import { Values } from "../parts/values";

const recurringHref = (id: string) => href(["recurringruns", "details", id]);

export function when(one: Recurring): string {
  return one.trigger.cron ? `${one.trigger.cron} (${one.trigger.timezone})` : `every ${period(one.trigger.interval)}`;
}

const COLUMNS: Column<Recurring>[] = [
  { id: "on", title: "State", width: "88px", cell: (one) => one.trouble
    ? <span class="state s-bad"><Mark state="FAILED" /> trouble</span>
    : one.enabled ? <span class="state s-ok"><Mark state="SUCCEEDED" /> on</span> : <span class="state s-none"><Mark state="SKIPPED" /> off</span> },
  { id: "name", title: "Name", width: "minmax(160px, 1.4fr)", cell: (one) => <a href={recurringHref(one.recurring_id)}>{one.name}</a> },
  { id: "when", title: "When", width: "minmax(140px, 1.2fr)", quiet: true, cell: (one) => <code>{when(one)}</code> },
  { id: "next", title: "Next", width: "96px", right: true, cell: (one) => one.next[0] !== undefined && <Ago at={one.next[0]} /> },
  { id: "active", title: "Running", width: "72px", right: true, cell: (one) => one.active || "" },
  { id: "created", title: "Created", width: "96px", right: true, quiet: true, cell: (one) => <Ago at={one.created_at} /> },
];

export default function RecurringPage({ path }: { path: string[] }) {
  const address = url("recurring-runs");
  const { data, error } = useResource<{ recurring_runs: Recurring[]; note: string }>(address);
  const [cursor, setCursor] = useState("");
  const rows = data?.recurring_runs ?? [];
  useRunsChanged(() => void refresh(address), 1000);
  const open = path[0] ?? "";
  const step = (by: number) => {
    const at = rows.findIndex((one) => one.recurring_id === (open || cursor));
    const next = rows[Math.max(0, Math.min(rows.length - 1, at + by))];
    if (!next) return;
    setCursor(next.recurring_id);
    if (open) go(recurringHref(next.recurring_id), true);
  };
  useShortcuts([
    { keys: "j", help: "Next row", run: () => step(1) },
    { keys: "k", help: "Row before", run: () => step(-1) },
    { keys: "Enter", help: "Open", run: () => cursor && go(recurringHref(cursor)) },
    { keys: "Escape", help: "Close the panel", run: () => go("#/recurringruns") },
  ]);
  const shown = rows.find((one) => one.recurring_id === open);
  return (
    <>
      <header class="head">
        <h1>Recurring runs</h1>
        <div class="actions"><a class="btn" href="#/pipelines">New recurring run</a></div>
      </header>
      {data?.note && rows.length > 0 && <div class="bar"><span class="muted">{data.note}</span></div>}
      {error && <div class="bar"><ErrorNotice error={error} what="Recurring runs could not be loaded." /></div>}
      {!data ? !error && <SkeletonRows /> : (
        <div class="run">
          <div class="left">
            {rows.length ? (
              <Table label="Recurring runs" columns={COLUMNS} rows={rows} id={(one) => one.recurring_id} cursor={open || cursor}
                selected={(one) => one.recurring_id === open} onOpen={(one) => go(recurringHref(one.recurring_id))} />
            ) : (
              <Empty title="Nothing recurs yet" commands={["mlplatform compile pipeline.py"]}>
                Store a pipeline under <a href="#/pipelines">Pipelines</a>, open it, and choose “Run regularly”: every few minutes, or by
                a cron line in your time zone.
              </Empty>
            )}
          </div>
          {open && (shown ? <Shown key={open} one={shown} changed={() => void refresh(address)} /> : (
            <aside class="panel fixed" aria-label="Recurring run"><div class="inside"><p>There is no recurring run <code>{open}</code> (any more).</p></div></aside>
          ))}
        </div>
      )}
    </>
  );
}

function Shown({ one, changed }: { one: Recurring; changed: () => void }) {
  const [asking, setAsking] = useState(false);
  const address = url(`recurring-runs/${part(one.recurring_id)}`);
  const runs = useResource<RunPage>(url("runs", { tag: `mlplatform/recurring-run-id=${one.recurring_id}`, limit: 10 }));
  const made = (runs.data?.runs ?? []).filter((run) => run.origin.recurring_id === one.recurring_id);
  const change = async (what: object) => {
    try {
      await patch(address, what);
      changed();
    } catch (error) {
      failed("Nothing was changed.", error);
    }
  };
  return (
    <aside class="panel fixed" aria-label={`Recurring run ${one.name}`}>
      <div class="title">
        <h2 class="grow cut">{one.name}</h2>
        <a class="btn quiet small icon" href="#/recurringruns" aria-label="Close the panel"><Icon name="close" size={14} /></a>
      </div>
      <div class="tabbody" tabIndex={0} role="region" aria-label="About the recurring run"><div class="inside">
        {one.trouble && <Notice tone="bad"><p><strong>The last time made no run.</strong> {one.trouble}</p></Notice>}
        <div class="buttons">
          <button type="button" class="btn" onClick={() => void change({ enabled: !one.enabled })}>{one.enabled ? "Turn off" : "Turn on"}</button>
          <button type="button" class="btn danger" onClick={() => setAsking(true)}>Delete</button>
        </div>
        <dl class="kv">
          <dt>When</dt><dd><code>{when(one)}</code></dd>
          <dt>Pipeline</dt><dd>{one.pipeline_id ? <a href={href(["pipelines", "details", one.pipeline_id], { version: one.version_id })}>{one.version_id ? "one version" : "newest version"}</a> : "a document of its own"}</dd>
          <dt>Experiment</dt><dd>{one.experiment || "Default"}</dd>
          <dt>At once</dt><dd>{one.max_concurrency}</dd>
          <dt>Missed times</dt><dd>{one.catchup ? "are made up for" : "are left out"}</dd>
          <dt>Cache</dt><dd>{one.cache ? "results are reused" : "everything runs"}</dd>
          <dt>Id</dt><dd><Id id={one.recurring_id} label="recurring run id" /></dd>
        </dl>
        {one.description && <p class="why">{one.description}</p>}
        <section><h3>Next</h3>{one.next.length ? <ul>{one.next.map((at) => <li key={at}>{absolute(at)} <span class="muted"><Ago at={at} /></span></li>)}</ul> : <p class="muted">{one.enabled ? "Never again: its end is past." : "It is off."}</p>}</section>
        <section><h3>Parameters</h3><Values values={one.parameters} none="The pipeline's defaults." /></section>
        <section>
          <h3>Its last runs</h3>
          {made.length ? (
            <ul class="stack">{made.map((run) => (
              <li key={run.run_id} class="facts"><StateWord state={run.state} /><a href={href(["runs", "details", run.run_id])}>{run.name}</a>
                <Took from={run.started_at} to={run.finished_at} live /><span class="muted"><Ago at={run.created_at} /></span></li>
            ))}</ul>
          ) : <p class="muted">None yet.</p>}
        </section>
      </div></div>
      {asking && (
        <Dialog title={`Delete ${one.name}?`} onClose={() => setAsking(false)} footer={
          <>
            <button type="button" class="btn" onClick={() => setAsking(false)}>Keep</button>
            <button type="button" class="btn danger" onClick={() => {
              remove(address).then(() => {
                changed();
                go("#/recurringruns");
              }).catch((error) => failed("It was not deleted.", error));
            }}>Delete for good</button>
          </>
        }><p>No further runs are made. Those it made stay.</p></Dialog>
      )}
    </aside>
  );
}
