/** About the run as a whole: inputs, outputs, tags, where it came from, the command line's words. */

import { useEffect, useState } from "preact/hooks";
import { part, request, url } from "../base/api";
import { href, update } from "../base/router";
import { absolute } from "../base/format";
import { refresh, useResource } from "../base/resource";
import type { RunDetail } from "../base/types";
import { Command, failed } from "../parts/basics";
import { Icon } from "../parts/icon";
import { Metrics } from "../parts/preview";
import { Values } from "../parts/values";
import type { RunModel } from "./model";
import { Panel } from "./panel";

export function RunPanel({ model, run }: { model: RunModel; run: RunDetail }) {
  const origin = run.origin;
  return (
    <Panel label="About the run">
      <div class="title">
        <h2 class="grow">About the run</h2>
        <button type="button" class="btn quiet small icon" aria-label="Close the panel" title="Close (Esc)" onClick={() => update({ panel: null })}>
          <Icon name="close" size={14} />
        </button>
      </div>
      <div class="tabbody" tabIndex={0} role="region" aria-label="About the run">
        <div class="inside">
          {run.error && (
            <section>
              <p><strong>{run.error.message}</strong></p>
              {run.error.hint && <p class="why">{run.error.hint}</p>}
            </section>
          )}
          <section><h3>Inputs</h3><Values values={run.inputs} none="It has none." /></section>
          <section><h3>Outputs</h3><Values values={run.outputs} none={run.finished_at ? "It has none." : "None yet."} /></section>
          <Numbers run={run} />
          <Note model={model} run={run} />
          <section>
            <h3>Tags</h3>
            {Object.keys(run.tags).length ? (
              <div class="facts">{Object.entries(run.tags).map(([name, value]) => <span class="chip" key={name}>{value ? `${name}=${value}` : name}</span>)}</div>
            ) : <p class="muted">None.</p>}
          </section>
          <section>
            <h3>Facts</h3>
            <dl class="kv">
              <dt>Run id</dt><dd><code>{run.run_id}</code></dd>
              <dt>Created</dt><dd>{absolute(run.created_at)}</dd>
              {run.finished_at !== null && <><dt>Finished</dt><dd>{absolute(run.finished_at)}</dd></>}
              {run.priority !== 0 && <><dt>Priority</dt><dd>{run.priority}</dd></>}
              {origin.pipeline_id && <><dt>Pipeline</dt><dd><a href={href(["pipelines", "details", origin.pipeline_id], { version: origin.version_id })}>{run.pipeline}</a></dd></>}
              {origin.recurring_id && <><dt>Recurring run</dt><dd><a href={href(["recurringruns", "details", origin.recurring_id])}>{origin.scheduled_for || origin.recurring_id.slice(0, 8)}</a></dd></>}
              {origin.rerun_of && <><dt>Repeats</dt><dd><a href={href(["runs", "details", origin.rerun_of])}><code>{origin.rerun_of.slice(0, 8)}</code></a></dd></>}
              <dt>Document</dt><dd><a href={url(`runs/${part(run.run_id)}/document`)} target="_blank" rel="noopener"><code>{run.document.replace(/^sha256:/, "").slice(0, 12)}</code></a></dd>
            </dl>
          </section>
          <section>
            <h3>On the command line</h3>
            <div class="stack">{Object.values(run.commands).map((text) => <Command key={text} text={text} />)}</div>
          </section>
        </div>
      </div>
    </Panel>
  );
}

/** Metrics shown here; all of them are in Compare. */
const MOST = 60;

/** What its tasks logged, by task and name, as Compare has it; asked for again when tasks have gone on. */
function Numbers({ run }: { run: RunDetail }) {
  const address = url("compare", { run: [run.run_id] });
  const { data } = useResource<{ runs: { metrics: Record<string, number> }[] }>(address);
  const large = Object.values(run.counts).reduce((sum, count) => sum + count, 0) > 500; // too much to read with every task
  const moment = large ? run.finished_at : JSON.stringify(run.counts);
  useEffect(() => void refresh(address), [address, moment]);
  const all = Object.entries(data?.runs[0]?.metrics ?? {});
  if (!all.length) return null;
  return (
    <section>
      <h3>Metrics</h3>
      <Metrics metrics={Object.fromEntries(all.slice(0, MOST))} />
      {all.length > MOST && <p class="muted">And {all.length - MOST} more: <a href={href(["compare"], { run: [run.run_id] })}>see all</a></p>}
    </section>
  );
}

function Note({ model, run }: { model: RunModel; run: RunDetail }) {
  const [text, setText] = useState<string | null>(null);
  const save = async () => {
    try {
      await request("PATCH", url(`runs/${part(run.run_id)}`), { note: text });
      await model.reload();
      setText(null);
    } catch (error) {
      failed("The note was not kept.", error);
    }
  };
  return (
    <section>
      <h3>Note</h3>
      {text === null ? (
        <div class="facts">
          <span class="pre grow">{run.note || <span class="muted">None.</span>}</span>
          <button type="button" class="btn small" onClick={() => setText(run.note)}>{run.note ? "Change" : "Write one"}</button>
        </div>
      ) : (
        <div class="stack">
          <textarea class="field" rows={4} aria-label="Note" value={text} onInput={(event) => setText(event.currentTarget.value)} />
          <div class="facts">
            <button type="button" class="btn small primary" onClick={() => void save()}>Keep</button>
            <button type="button" class="btn small" onClick={() => setText(null)}>Leave</button>
          </div>
        </div>
      )}
    </section>
  );
}
