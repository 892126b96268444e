/** A stored pipeline: its graph, its versions and what differs between them, what it takes; runs start here. */

import "../styles/run.css";
import { useEffect, useMemo, useState } from "preact/hooks";
import { part, remove, url } from "../base/api";
import { diff } from "../base/diff";
import { counted } from "../base/format";
import { useShortcuts } from "../base/keys";
import { refresh, useResource } from "../base/resource";
import { go, href, place, update } from "../base/router";
import type { Graph, NodeKind, PipelineDetail, Version, VersionDetail } from "../base/types";
import { Plan } from "../graph/geometry";
import { GraphView } from "../graph/graph";
import { Ago, Dialog, ErrorNotice, failed, Id, Menu, SkeletonRows } from "../parts/basics";
import { Icon } from "../parts/icon";
import { NewRun, useVersions } from "../parts/runform";
import { Source } from "../parts/source";
import { Upload } from "./pipelines";
import { NewRecurring } from "../parts/recurringform";

const KINDS: Record<NodeKind, string> = { task: "", importer: "importer", notebook: "notebook", dag: "pipeline", condition: "condition", loop: "loop", exit: "exit handler" };
const VIEWS = [
  { id: "graph", title: "Graph" },
  { id: "versions", title: "Versions" },
  { id: "parameters", title: "Parameters" },
  { id: "document", title: "Document" },
];

export default function PipelinePage({ path }: { path: string[] }) {
  const id = path[0]!;
  const query = place.value.query;
  const view = query.get("view") ?? "graph";
  const base = url(`pipelines/${part(id)}`);
  const pipeline = useResource<PipelineDetail>(base);
  const versions = useVersions(id);
  const chosen = query.get("version") || (path[1] === "version" ? path[2] : "") || pipeline.data?.newest?.version_id || "";
  const version = useResource<VersionDetail>(chosen ? url(`pipelines/${part(id)}/versions/${part(chosen)}`) : null);
  const [dialog, setDialog] = useState<"" | "run" | "recurring" | "delete">("");
  useEffect(() => {
    if (pipeline.data) document.title = `${pipeline.data.display_name} · mlplatform`;
  }, [pipeline.data]);
  useShortcuts([{ keys: "n", help: "New run", run: () => version.data && setDialog("run") }]);

  if (pipeline.error && !pipeline.data) {
    return <div class="page"><ErrorNotice error={pipeline.error} what="The pipeline could not be loaded." /><p><a href="#/pipelines">All pipelines</a></p></div>;
  }
  if (!pipeline.data) return <SkeletonRows />;
  const list = versions.data?.versions ?? [];
  return (
    <>
      <header class="head">
        <a class="btn quiet icon" href="#/pipelines" aria-label="All pipelines" title="All pipelines"><Icon name="back" /></a>
        <div class="headline">
          <div class="top"><h1 class="cut">{pipeline.data.display_name}</h1></div>
          <div class="facts">
            <span>{counted(pipeline.data.versions, "version")}</span>
            <a href={href(["runs"], { pipeline: version.data?.pipeline_name ?? pipeline.data.name })}>Runs</a>
            <Id id={id} label="pipeline id" />
            {pipeline.data.description && <span class="cut">{pipeline.data.description}</span>}
          </div>
        </div>
        <div class="actions">
          <button type="button" class="btn primary" disabled={!version.data} onClick={() => setDialog("run")}>New run</button>
          <button type="button" class="btn" disabled={!version.data} onClick={() => setDialog("recurring")}>Run regularly</button>
          <Upload into={id} done={([made]) => {
            void refresh(base);
            void refresh(url(`pipelines/${part(id)}/versions`));
            update({ version: made });
          }} />
          <Menu label="More" items={[{ label: "Delete the pipeline", danger: true, run: () => setDialog("delete") }]} />
        </div>
      </header>
      <div class="bar">
        <div class="seg" role="group" aria-label="View">
          {VIEWS.map((one) => (
            <button type="button" key={one.id} aria-pressed={one.id === view} onClick={() => update({ view: one.id === "graph" ? null : one.id }, false)}>{one.title}</button>
          ))}
        </div>
        {list.length > 0 && view !== "versions" && (
          <label class="facts">Version
            <select class="field" value={chosen} onChange={(event) => update({ version: event.currentTarget.value })}>
              {list.map((one) => <option key={one.version_id} value={one.version_id}>{one.display_name}</option>)}
            </select>
          </label>
        )}
      </div>
      {version.error && !version.data ? <div class="page"><ErrorNotice error={version.error} what="The version could not be loaded." /></div>
        : view === "versions" ? <Versions id={id} list={list} />
        : !version.data ? <SkeletonRows />
        : view === "parameters" ? <Parameters version={version.data} />
        : view === "document" ? <div class="body"><div class="page"><Source text={version.data.text} /></div></div>
        : <Drawn id={id} version={version.data} />}
      {dialog === "run" && version.data && <NewRun version={version.data} onClose={() => setDialog("")} />}
      {dialog === "recurring" && version.data && <NewRecurring version={version.data} onClose={() => setDialog("")} />}
      {dialog === "delete" && (
        <Dialog title="Delete this pipeline?" onClose={() => setDialog("")} footer={
          <>
            <button type="button" class="btn" onClick={() => setDialog("")}>Keep</button>
            <button type="button" class="btn danger" onClick={() => {
              remove(base).then(() => go("#/pipelines")).catch((error) => failed("The pipeline was not deleted.", error));
            }}>Delete for good</button>
          </>
        }><p>All its versions go. Its runs stay.</p></Dialog>
      )}
    </>
  );
}

function Drawn({ id, version }: { id: string; version: VersionDetail }) {
  const query = place.value.query;
  const closed = query.getAll("fold");
  const selected = query.get("task") ?? "";
  const graph = useResource<Graph>(url(`pipelines/${part(id)}/versions/${part(version.version_id)}/graph`, { collapsed: closed }));
  const plan = useMemo(() => (graph.data ? new Plan(graph.data) : null), [graph.data]);
  useShortcuts([{ keys: "Escape", help: "Close the panel", run: () => update({ task: null }) }]);
  if (!plan) return graph.error ? <div class="page"><ErrorNotice error={graph.error} what="The graph could not be drawn." /></div> : <SkeletonRows />;
  const node = plan.nodes.get(selected);
  return (
    <div class="run">
      <div class="left">
        <GraphView plan={plan} label={`Graph of ${version.pipeline_name}: ${counted(plan.nodes.size, "task")}`} selected={selected}
          select={(task) => update({ task: task || null })}
          toggle={(group) => update({ fold: closed.includes(group) ? closed.filter((one) => one !== group) : [...closed, group] })}
          tell={(task) => ({ state: null, note: KINDS[plan.nodes.get(task)?.kind ?? "task"] })} states={() => null} />
      </div>
      {node && (
        <aside class="panel fixed" aria-label={`Task ${node.name}`}>
          <div class="title"><h2 class="grow cut">{node.name}</h2>
            <button type="button" class="btn quiet small icon" aria-label="Close the panel" onClick={() => update({ task: null })}><Icon name="close" size={14} /></button></div>
          <div class="tabbody" tabIndex={0} role="region" aria-label="About the task"><div class="inside">
            <dl class="kv">
              <dt>Kind</dt><dd>{KINDS[node.kind] || "task"}</dd>
              <dt>Path</dt><dd><code>{node.id}</code></dd>
              <dt>Component</dt><dd><code>{node.component}</code></dd>
              {node.detail && <><dt>{node.kind === "condition" ? "If" : "About"}</dt><dd><code>{node.detail}</code></dd></>}
            </dl>
            <section><h3>Needs</h3><Ends edges={plan.graph.edges.filter((edge) => edge.target === node.id).map((edge) => [edge.source, edge.labels])} /></section>
            <section><h3>Leads to</h3><Ends edges={plan.graph.edges.filter((edge) => edge.source === node.id).map((edge) => [edge.target, edge.labels])} /></section>
          </div></div>
        </aside>
      )}
    </div>
  );
}

function Ends({ edges }: { edges: [string, string[]][] }) {
  if (!edges.length) return <p class="muted">Nothing.</p>;
  return (
    <ul class="stack">
      {edges.map(([id, labels]) => (
        <li key={id}><button type="button" class="btn quiet small" onClick={() => update({ task: id })}>{id}</button> <span class="muted">{labels.join(", ")}</span></li>
      ))}
    </ul>
  );
}

function Parameters({ version }: { version: VersionDetail }) {
  if (!version.inputs.length) return <div class="page"><p class="muted">This pipeline takes no parameters.</p></div>;
  return (
    <div class="body"><div class="page">
      <table class="plain">
        <thead><tr><th>Parameter</th><th>Type</th><th>Default</th><th>Description</th></tr></thead>
        <tbody>
          {version.inputs.map((one) => (
            <tr key={one.name}>
              <td><code>{one.name}</code></td>
              <td class="muted">{one.type.toLowerCase().replace("number_", "")}</td>
              <td>{one.has_default ? <code>{JSON.stringify(one.default)}</code> : <span class="muted">{one.required ? "needed" : "none"}</span>}</td>
              <td class="muted">{one.description}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div></div>
  );
}

function Versions({ id, list }: { id: string; list: Version[] }) {
  const query = place.value.query;
  const [from, to] = [query.get("from") ?? list[1]?.version_id ?? "", query.get("to") ?? list[0]?.version_id ?? ""];
  const a = useResource<VersionDetail>(from ? url(`pipelines/${part(id)}/versions/${part(from)}`) : null);
  const b = useResource<VersionDetail>(to ? url(`pipelines/${part(id)}/versions/${part(to)}`) : null);
  const lines = useMemo(() => (a.data && b.data ? diff(a.data.text, b.data.text) : null), [a.data, b.data]);
  return (
    <div class="body"><div class="page">
      <section class="section">
        <table class="plain">
          <thead><tr><th>Version</th><th>Description</th><th>Created</th><th>From</th><th>To</th><th>Code</th></tr></thead>
          <tbody>
            {list.map((one) => (
              <tr key={one.version_id}>
                <td><a href={href(["pipelines", "details", id], { version: one.version_id })}>{one.display_name}</a></td>
                <td class="muted">{one.description}</td>
                <td class="muted"><Ago at={one.created_at} /></td>
                <td><input type="radio" name="from" aria-label={`Compare from ${one.display_name}`} checked={one.version_id === from} onChange={() => update({ from: one.version_id })} /></td>
                <td><input type="radio" name="to" aria-label={`Compare to ${one.display_name}`} checked={one.version_id === to} onChange={() => update({ to: one.version_id })} /></td>
                <td>{one.code_source_url && <a href={one.code_source_url} target="_blank" rel="noopener noreferrer">code</a>}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      {list.length < 2 ? <p class="muted">With a second version, what changed is shown here.</p> : lines && (
        <section class="section">
          <h2>What changed</h2>
          {lines.length ? (
            <pre class="code diff" tabIndex={0} aria-label="Differences">
              {lines.map((line, at) => (
                <span key={at} class={line.kind}>{`${{ add: "+", del: "-", same: " ", gap: " " }[line.kind]} ${line.kind === "gap" ? `… ${line.text}` : line.text}\n`}</span>
              ))}
            </pre>
          ) : <p class="muted">Nothing: the two documents are equal.</p>}
        </section>
      )}
    </div></div>
  );
}
