/** Everything that tasks made, what is in it, and who made and used it. */

import "../styles/run.css";
import { useState } from "preact/hooks";
import { get, url } from "../base/api";
import { size } from "../base/format";
import { useShortcuts } from "../base/keys";
import { useResource } from "../base/resource";
import { href, place, update, useTyped } from "../base/router";
import type { ArtifactDetail, ArtifactLink, Json, TaskPlace } from "../base/types";
import { Copy, Empty, ErrorNotice, failed, SkeletonRows } from "../parts/basics";
import { Icon } from "../parts/icon";
import { Preview } from "../parts/preview";
import { Table, type Column } from "../parts/table";
import { typeWord, Value } from "../parts/values";

const TYPES = ["system.Dataset", "system.Model", "system.Metrics", "system.ClassificationMetrics", "system.HTML", "system.Markdown", "system.Artifact"];

const taskHref = (one: TaskPlace) => href(["runs", "details", one.run_id], { task: one.task, i: one.iteration.join(","), tab: "io" });
const taskWord = (one: TaskPlace) => one.task ? one.task + one.iteration.map((index) => `[${index}]`).join("") : "the run";

const COLUMNS: Column<ArtifactLink>[] = [
  { id: "type", title: "Type", width: "112px", cell: (one) => <span class="chip">{typeWord(one.type)}</span> },
  { id: "name", title: "Name", width: "minmax(120px, 1fr)", cell: (one) => one.name },
  { id: "task", title: "Made by", width: "minmax(140px, 1.4fr)", quiet: true, cell: (one) => <a href={taskHref(one)}>{taskWord(one)}</a> },
  { id: "run", title: "Run", width: "80px", quiet: true, cell: (one) => <a href={href(["runs", "details", one.run_id])}><code>{one.run_id.slice(-6)}</code></a> },
  { id: "size", title: "Size", width: "88px", right: true, cell: (one) => size(one.size) },
  { id: "digest", title: "Content", width: "112px", quiet: true, cell: (one) => <code title={one.digest}>{one.digest.replace("sha256:", "").slice(0, 12)}</code> },
];

export default function Artifacts(_: { path: string[] }) {
  const query = place.value.query;
  const [q, type, uri] = [query.get("q") ?? "", query.get("type") ?? "", query.get("uri") ?? ""];
  const [typed, write] = useTyped(q, (text) => update({ q: text }));
  const [more, setMore] = useState<{ key: string; rows: ArtifactLink[]; next: string } | null>(null);
  const address = url("artifacts", { q, type, limit: 200 });
  const { data, error } = useResource<{ artifacts: ArtifactLink[]; next_cursor: string }>(address);
  const further = more?.key === address ? more : null;
  const rows = [...(data?.artifacts ?? []), ...(further?.rows ?? [])];
  const next = further ? further.next : data?.next_cursor ?? "";
  const load = async () => {
    try {
      const page = await get<{ artifacts: ArtifactLink[]; next_cursor: string }>(url("artifacts", { q, type, limit: 200, cursor: next }));
      setMore({ key: address, rows: [...(further?.rows ?? []), ...page.artifacts], next: page.next_cursor });
    } catch (problem) {
      failed("More artifacts could not be loaded.", problem);
    }
  };
  const step = (by: number) => {
    const at = rows.findIndex((one) => one.uri === uri);
    const to = rows[at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + by))];
    if (to) update({ uri: to.uri, file: null });
  };
  useShortcuts([
    { keys: "j", help: "Next artifact", run: () => step(1) },
    { keys: "k", help: "Artifact before", run: () => step(-1) },
    { keys: "Escape", help: "Close the panel", run: () => update({ uri: null, file: null }) },
  ]);
  return (
    <>
      <header class="head"><h1>Artifacts</h1></header>
      <div class="bar">
        <div class="search">
          <Icon name="search" size={14} />
          <input class="field" type="search" data-search placeholder="Search artifacts" aria-label="Search artifacts" value={typed}
            onInput={(event) => write(event.currentTarget.value)} />
        </div>
        <select class="field" aria-label="Type" value={type} onChange={(event) => update({ type: event.currentTarget.value })}>
          <option value="">every type</option>
          {[...new Set([...TYPES, ...(type ? [type] : [])])].map((one) => <option key={one} value={one}>{typeWord(one)}</option>)}
        </select>
      </div>
      {error && <div class="bar"><ErrorNotice error={error} what="Artifacts could not be loaded." /></div>}
      <div class="run">
        <div class="left">
          {!data ? !error && <SkeletonRows /> : rows.length ? (
            <Table label="Artifacts" columns={COLUMNS} rows={rows} cursor={rowId(rows.find((one) => one.uri === uri))}
              id={(one) => rowId(one)} selected={(one) => one.uri === uri} onOpen={(one) => update({ uri: one.uri, file: null })}
              more={!!next} onEnd={() => void load()} />
          ) : q || type ? (
            <Empty title="No artifact fits">Nothing has these words and this type. <a href="#/artifacts">Show all</a></Empty>
          ) : (
            <Empty title="No artifacts yet" commands={["mlplatform demo"]}>
              What tasks write through their Output arguments (data sets, models, metrics, reports) is listed here, with a preview
              and with the tasks that made and used it.
            </Empty>
          )}
        </div>
        {uri && <Shown key={uri} uri={uri} />}
      </div>
    </>
  );
}

function rowId(one: ArtifactLink | undefined): string {
  return one ? `${one.run_id} ${taskWord(one)} ${one.name} ${one.position}` : "";
}

function Shown({ uri }: { uri: string }) {
  const { data, error } = useResource<ArtifactDetail>(url("artifacts/detail", { uri }));
  return (
    <aside class="panel fixed wide" aria-label="The artifact">
      <div class="title">
        <h2 class="grow cut">{data ? `${typeWord(data.artifact.type)} ${data.artifact.name}` : "Artifact"}</h2>
        {data?.exists && <a class="btn small" href={data.raw} download><Icon name="download" size={14} /> Save</a>}
        <button type="button" class="btn quiet small icon" aria-label="Close the panel" onClick={() => update({ uri: null, file: null })}><Icon name="close" size={14} /></button>
      </div>
      <div class="tabbody" tabIndex={0} role="region" aria-label="About the artifact"><div class="inside">
        {error && !data && <ErrorNotice error={error} what="The artifact could not be loaded." />}
        {data && (
          <>
            {data.exists === false && !data.artifact.type.includes("Metrics") ? <p class="muted">It is recorded, but its content is not there any more.</p> : <Preview uri={uri} />}
            <section><h3>Lineage</h3><Lineage detail={data} /></section>
            <section>
              <h3>Facts</h3>
              <dl class="kv">
                <dt>Type</dt><dd>{data.artifact.type}</dd>
                {data.artifact.size !== null && <><dt>Size</dt><dd>{size(data.artifact.size)}</dd></>}
                {data.artifact.digest && <><dt>Content</dt><dd class="copy"><code class="cut">{data.artifact.digest}</code><Copy text={data.artifact.digest} label="Copy digest" /></dd></>}
                <dt>Address</dt><dd class="copy"><code class="grow">{uri}</code><Copy text={uri} label="Copy address" /></dd>
              </dl>
            </section>
            {Object.keys(data.artifact.metadata).length > 0 && (
              <section>
                <h3>Metadata</h3>
                <dl class="kv">{Object.entries(data.artifact.metadata).map(([name, value]) => (
                  <div class="pair" key={name}><dt>{name}</dt><dd><Value value={value as Json} /></dd></div>
                ))}</dl>
              </section>
            )}
          </>
        )}
      </div></div>
    </aside>
  );
}

function Lineage({ detail }: { detail: ArtifactDetail }) {
  return (
    <div class="lineage">
      <Ends title="Made by" all={detail.made_by} none="Nobody here: it came from elsewhere." />
      <span class="arrow" aria-hidden="true">→</span>
      <span class="chip">{detail.artifact.name}</span>
      <span class="arrow" aria-hidden="true">→</span>
      <Ends title="Used by" all={detail.used_by} none="Nobody yet." />
      {detail.reused_by.length > 0 && <div class="full"><Ends title="Reused by" all={detail.reused_by} none="" /></div>}
    </div>
  );
}

function Ends({ title, all, none }: { title: string; all: TaskPlace[]; none: string }) {
  return (
    <div>
      <span class="muted">{title}</span>
      {all.length ? (
        <ul>
          {all.slice(0, 12).map((one) => (
            <li key={one.run_id + taskWord(one)}><a href={taskHref(one)}>{taskWord(one)}</a> <code class="muted">{one.run_id.slice(-6)}</code></li>
          ))}
          {all.length > 12 && <li class="muted">and {all.length - 12} more</li>}
        </ul>
      ) : <p class="muted">{none}</p>}
    </div>
  );
}
