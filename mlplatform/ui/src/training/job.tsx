/** One training job: progress, where its time went, its ranks, its attempts; beside them the log of a rank. */

import { useState } from "preact/hooks";
import { part, post, remove, url } from "../base/api";
import { counted, duration } from "../base/format";
import { useShortcuts } from "../base/keys";
import { useTrainingChanged } from "../base/live";
import { refresh, useResource } from "../base/resource";
import { go, place, update } from "../base/router";
import type { Goodput, Rank, TrainingDetail } from "../base/training";
import { Ago, Command, Dialog, ErrorNotice, failed, Notice, SkeletonRows, Tabs, toast, Took } from "../parts/basics";
import { Icon } from "../parts/icon";
import { Mark, StateWord } from "../parts/state";
import { Table, type Column } from "../parts/table";
import { LogView } from "../run/log";
import { actionWord, PARTS, rankName } from "./words";

export function Job({ name }: { name: string }) {
  const address = url(`training-jobs/${part(name)}`);
  const { data: job, error } = useResource<TrainingDetail>(address);
  const [asking, setAsking] = useState(false);
  const changed = () => void refresh(address);
  useTrainingChanged(changed, name);
  const { query } = place.value;
  const tab = query.get("tab") ?? "ranks";
  const chosen = query.get("rank") ?? "";
  const rows = job?.rank_rows ?? [];
  const shown = rows.find((one) => rankName(one) === chosen);
  const step = (by: number) => {
    const at = rows.findIndex((one) => rankName(one) === chosen);
    const next = rows[Math.max(0, Math.min(rows.length - 1, at + by))];
    if (next) update({ rank: rankName(next), attempt: null });
  };
  useShortcuts([
    { keys: "j", help: "Next rank", run: () => step(1) },
    { keys: "k", help: "Rank before", run: () => step(-1) },
    { keys: "1", help: "Ranks", run: () => update({ tab: null }) },
    { keys: "2", help: "Attempts", run: () => update({ tab: "attempts" }) },
    { keys: "3", help: "Conditions", run: () => update({ tab: "conditions" }) },
    { keys: "Escape", help: "Close the log", run: () => update({ rank: null, attempt: null }) },
  ]);
  if (!job)
    return error ? (
      <div class="page"><ErrorNotice error={error} what={`${name} could not be loaded.`} /></div>
    ) : <SkeletonRows />;
  const over = job.finished_at !== null;
  const ask = async (what: "suspend" | "resume") => {
    try {
      await post(`${address}/${what}`);
      toast(what === "suspend" ? "Its ranks are asked to save and stop." : "It goes on from its newest checkpoint.");
      changed();
    } catch (trouble) {
      failed("Nothing was changed.", trouble);
    }
  };
  return (
    <>
      <header class="head">
        <a class="btn quiet icon" href="#/training" aria-label="All training jobs"><Icon name="back" /></a>
        <h1 class="cut">{name}</h1>
        <StateWord state={job.phase} />
        <span class="facts">
          <span>{job.framework}</span>
          <span>{counted(job.ranks.desired, "rank")}{job.accelerators ? `, ${counted(job.accelerators, "accelerator")}` : ""}</span>
          {job.started_at !== null && <span><Took from={job.started_at} to={job.finished_at} live /></span>}
        </span>
        <div class="actions">
          {job.mlflow && <a class="btn" href={job.mlflow} target="_blank" rel="noopener"><Icon name="mlflow" size={14} /> MLflow</a>}
          {!over && (job.suspend
            ? <button type="button" class="btn primary" onClick={() => void ask("resume")}>Resume</button>
            : <button type="button" class="btn" onClick={() => void ask("suspend")}><Icon name="pause" size={14} /> Suspend</button>)}
          <button type="button" class="btn danger" onClick={() => setAsking(true)}>Delete</button>
        </div>
      </header>
      <div class="run">
        <div class="left">
          <div class="job">
            {job.message && <Notice tone={job.phase === "Failed" ? "bad" : over ? "" : "warn"}><p><strong>{job.reason || job.phase}.</strong> {job.message}</p></Notice>}
            <Progress job={job} />
            {job.goodput && job.goodput.wall_seconds > 0 && <Time spent={job.goodput} />}
          </div>
          <Tabs label="Of the job" chosen={tab} choose={(id) => update({ tab: id === "ranks" ? null : id })} tabs={[
            { id: "ranks", title: `Ranks ${job.ranks.desired}` },
            { id: "attempts", title: `Attempts ${job.attempts.length}` },
            { id: "conditions", title: "Conditions" },
          ]} />
          {tab === "attempts" ? <Attempts job={job} /> : tab === "conditions" ? <Conditions job={job} /> : <Ranks job={job} chosen={chosen} />}
        </div>
        {chosen && <Beside key={chosen} job={job} rank={shown} name={chosen} attempt={Number(query.get("attempt") ?? 0)} />}
      </div>
      {asking && (
        <Dialog title={`Delete ${name}?`} onClose={() => setAsking(false)} footer={
          <>
            <button type="button" class="btn" onClick={() => setAsking(false)}>Keep</button>
            <button type="button" class="btn danger" onClick={() => {
              remove(address).then(() => go("#/training")).catch((trouble) => failed("It was not deleted.", trouble));
            }}>Delete for good</button>
          </>
        }>
          <p>Its ranks are stopped, and its attempts are forgotten. {job.checkpoint_scope ? "Claims that are to be retained stay, with the checkpoints on them." : ""}</p>
          {job.commands.delete && <Command text={job.commands.delete} />}
        </Dialog>
      )}
    </>
  );
}

function Progress({ job }: { job: TrainingDetail }) {
  const over = job.finished_at !== null;
  const metrics = Object.entries(job.metrics);
  if (job.step === null && job.percent === null && !metrics.length && job.checkpoint_step === null)
    return over ? null : <p class="muted">No rank has reported progress yet. <code>mlplatform.training.report(step, metrics)</code> does.</p>;
  return (
    <section aria-label="Progress">
      {job.percent !== null && <div class="meter" role="progressbar" aria-label="Progress" aria-valuenow={job.percent} aria-valuemin={0} aria-valuemax={100}><span style={{ width: `${job.percent}%` }} /></div>}
      <dl class="figures">
        {job.percent !== null && <div><dt>done</dt><dd>{job.percent}%</dd></div>}
        {job.step !== null && <div><dt>step</dt><dd>{job.step}{job.total_steps !== null && <span class="muted"> of {job.total_steps}</span>}</dd></div>}
        {!over && job.eta_seconds !== null && <div><dt>left</dt><dd>{duration(job.eta_seconds)}</dd></div>}
        {job.checkpoint_step !== null && <div><dt>checkpoint</dt><dd title={job.checkpoint_uri}>{job.checkpoint_step} <span class="muted"><Ago at={job.checkpoint_at} /></span></dd></div>}
        {!over && job.lag_steps !== null && job.lag_steps > 0 && <div><dt>slowest</dt><dd>{job.slowest} <span class="muted">{counted(job.lag_steps, "step")} behind</span></dd></div>}
        {metrics.map(([name, value]) => <div key={name}><dt>{name}</dt><dd title={value}>{figure(value)}</dd></div>)}
      </dl>
    </section>
  );
}

/** At most six digits; the whole number is in the title. */
function figure(value: string): string {
  const number = Number(value);
  return value.length > 9 && Number.isFinite(number) ? String(Number(number.toPrecision(6))) : value;
}

function Time({ spent }: { spent: Goodput }) {
  const parts = PARTS.map((one) => ({ ...one, seconds: spent[`${one.id}_seconds`] })).filter((one) => one.seconds > 0);
  return (
    <section aria-label="Where the time went">
      <div class="spent" aria-hidden="true">
        {parts.map((one) => <span key={one.id} class={`t-${one.id}`} style={{ flexGrow: one.seconds }} title={`${one.word}: ${duration(one.seconds)}`} />)}
      </div>
      <ul class="legend">
        <li><strong>Goodput {spent.percent}%</strong> <span class="muted">of {duration(spent.wall_seconds)}</span></li>
        {parts.map((one) => <li key={one.id} title={one.about}><span class={`key t-${one.id}`} aria-hidden="true" />{one.word} <span class="muted">{duration(one.seconds)}</span></li>)}
      </ul>
    </section>
  );
}

const RANKS: Column<Rank>[] = [
  { id: "state", title: "State", width: "104px", cell: (one) => <StateWord state={one.state} /> },
  { id: "rank", title: "Rank", width: "minmax(88px, 0.7fr)", cell: (one) => <a href="#" onClick={(event) => {
    event.preventDefault();
    update({ rank: rankName(one), attempt: null });
  }}>{rankName(one)}</a> },
  { id: "attempt", title: "Attempt", width: "64px", right: true, quiet: true, cell: (one) => one.attempt || "" },
  { id: "node", title: "Node", width: "minmax(96px, 1fr)", quiet: true, cell: (one) => one.node },
  { id: "exit", title: "Exit", width: "48px", right: true, cell: (one) => one.exit_code ?? "" },
  { id: "why", title: "Why", width: "minmax(120px, 2fr)", quiet: true, cell: (one) => <span title={one.message}>{one.message}</span> },
  { id: "took", title: "Took", width: "80px", right: true, cell: (one) => <Took from={one.started_at} to={one.finished_at} live={one.state === "Running"} /> },
];

function Ranks({ job, chosen }: { job: TrainingDetail; chosen: string }) {
  return (
    <>
      <div class="bar groups">
        {job.groups.map((group) => (
          <span class="group" key={group.name}>
            <strong>{group.name}</strong>
            <span class="muted">{group.role !== group.name ? `${group.role}, ` : ""}{group.least !== null ? `${group.desired} of ${group.least} to ${group.most}` : group.desired}</span>
            <span class="cells" aria-hidden="true">
              {job.rank_rows.filter((one) => one.group === group.name).slice(0, 256).map((one) => (
                <i key={one.rank} class={`cell r-${one.state}`} title={`${rankName(one)}: ${one.state}`} />
              ))}
            </span>
          </span>
        ))}
      </div>
      <Table label="Ranks" columns={RANKS} rows={job.rank_rows} id={rankName} cursor={chosen} selected={(one) => rankName(one) === chosen}
        onOpen={(one) => update({ rank: rankName(one), attempt: null })} />
    </>
  );
}

function Attempts({ job }: { job: TrainingDetail }) {
  return (
    <div class="body inside" tabIndex={0} role="region" aria-label="Attempts">
      <p class="muted">{job.restarts ? `${counted(job.restarts_counted, "restart")} counted of ${job.max_restarts} that are allowed, ${job.restarts - job.restarts_counted} not counted.` : "It has not restarted."}</p>
      <table class="plain" aria-label="Attempts">
        <thead><tr><th class="num">Attempt</th><th>Began</th><th class="num">Took</th><th class="num">From step</th><th>Ended by</th><th>First rank</th><th class="num">Exit</th><th>Node</th><th>What followed</th></tr></thead>
        <tbody>
          {job.attempts.map((one) => (
            <tr key={one.number}>
              <td class="num">{one.number}</td>
              <td><Ago at={one.started_at} /></td>
              <td class="num"><Took from={one.started_at} to={one.ended_at} live={job.finished_at === null} /></td>
              <td class="num">{one.resumed_from_step ?? "0"}</td>
              <td>{one.reason || "it goes on"}{one.message && <div class="muted">{one.message}</div>}</td>
              <td>{one.rank !== null && <button type="button" class="btn small" onClick={() => update({ tab: null, rank: `${one.group}-${one.rank}`, attempt: one.number })}>{one.group}-{one.rank}</button>}</td>
              <td class="num">{one.exit_code ?? ""}</td>
              <td>{one.node}</td>
              <td>{actionWord(one.action)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Conditions({ job }: { job: TrainingDetail }) {
  return (
    <div class="body inside" tabIndex={0} role="region" aria-label="Conditions">
      <table class="plain" aria-label="Conditions">
        <thead><tr><th>Condition</th><th>Is so</th><th>Reason</th><th>Message</th><th>Since</th></tr></thead>
        <tbody>
          {job.conditions.map((one) => (
            <tr key={one.type}>
              <td>{one.type}</td>
              <td><span class="state"><Mark state={one.status === "True" ? "SUCCEEDED" : "PENDING"} /> {one.status === "True" ? "yes" : one.status === "False" ? "no" : "unknown"}</span></td>
              <td>{one.reason}</td><td class="muted">{one.message}</td><td><Ago at={one.at} /></td>
            </tr>
          ))}
        </tbody>
      </table>
      {Object.values(job.commands).length > 0 && <section class="stack"><h2>The same on the command line</h2>{Object.values(job.commands).map((one) => <Command key={one} text={one} />)}</section>}
    </div>
  );
}

function Beside({ job, rank, name, attempt }: { job: TrainingDetail; rank: Rank | undefined; name: string; attempt: number }) {
  const close = <a class="btn quiet small icon" href="#" aria-label="Close the panel" onClick={(event) => {
    event.preventDefault();
    update({ rank: null, attempt: null });
  }}><Icon name="close" size={14} /></a>;
  if (!rank)
    return <aside class="panel fixed" aria-label={`Rank ${name}`}><div class="title"><h2 class="grow cut">{name}</h2>{close}</div><div class="inside"><p>There is no rank <code>{name}</code> in this job.</p></div></aside>;
  const which = attempt || rank.attempt;
  const all = [...new Set([rank.attempt, ...job.attempts.map((one) => one.number)])].filter((one) => one > 0).sort((a, b) => b - a);
  const was = job.attempts.find((one) => one.number === which);
  const first = was?.group === rank.group && was.rank === rank.rank;
  const query = { group: rank.group, rank: rank.rank, attempt: which };
  const address = `training-jobs/${part(job.name)}`;
  const live = which === rank.attempt && rank.exit_code === null && job.finished_at === null;
  return (
    <aside class="panel wide" aria-label={`Rank ${name}`}>
      <div class="title">
        <h2 class="grow cut">{name}</h2>
        {all.length > 1 && (
          <label class="facts">Attempt <select class="field" value={which} onChange={(event) => update({ attempt: event.currentTarget.value })}>
            {all.map((one) => <option key={one} value={one}>{one}</option>)}
          </select></label>
        )}
        {close}
      </div>
      <div class="inside">
        {which === rank.attempt ? (
          <>
            <div class="facts">
              <StateWord state={rank.state} />
              {rank.node && <span>on {rank.node}</span>}
              {rank.exit_code !== null && <span>exit code {rank.exit_code}</span>}
              <Took from={rank.started_at} to={rank.finished_at} live={rank.state === "Running"} />
            </div>
            {rank.message && <p class="why">{rank.message}</p>}
          </>
        ) : <p class="why">{was ? `Attempt ${which} ended: ${was.reason}${first ? ", with this rank first" : ""}. ${was.message}` : `Of attempt ${which}.`}</p>}
      </div>
      {which > 0
        ? <LogView key={which} ask={url(`${address}/log`, query)} file={url(`${address}/log-file`, query)} live={live} />
        : <div class="inside"><p class="muted">It was not started yet.</p></div>}
    </aside>
  );
}
