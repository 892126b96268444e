/** Pipelines that were stored: to be run with a form, or again and again. */

import { useRef, useState } from "preact/hooks";
import { upload, url } from "../base/api";
import { counted } from "../base/format";
import { useShortcuts } from "../base/keys";
import { refresh, useResource } from "../base/resource";
import { go, href, place, update, useTyped } from "../base/router";
import type { Pipeline } from "../base/types";
import { Ago, Empty, ErrorNotice, SkeletonRows, toast } from "../parts/basics";
import { Icon } from "../parts/icon";
import { Table, type Column } from "../parts/table";
import { inParts } from "../parts/work";

export const pipelineHref = (id: string, query = {}) => href(["pipelines", "details", id], query);

const COLUMNS: Column<Pipeline>[] = [
  { id: "name", title: "Name", width: "minmax(160px, 1.4fr)", cell: (one) => <a href={pipelineHref(one.pipeline_id)}>{one.display_name}</a> },
  { id: "about", title: "Description", width: "minmax(160px, 2fr)", quiet: true, cell: (one) => one.description },
  { id: "versions", title: "Versions", width: "72px", right: true, cell: (one) => one.versions },
  { id: "created", title: "Created", width: "96px", right: true, quiet: true, cell: (one) => <Ago at={one.created_at} /> },
  { id: "runs", title: <span class="sr">Runs</span>, width: "48px", quiet: true, cell: (one) => <a href={href(["runs"], { pipeline: one.name })}>Runs</a> },
];

export default function Pipelines(_: { path: string[] }) {
  const q = place.value.query.get("q") ?? "";
  const [typed, type] = useTyped(q, (text) => update({ q: text }));
  const [cursor, setCursor] = useState("");
  const address = url("pipelines", { q, limit: 500 });
  const { data, error, loading } = useResource<{ pipelines: Pipeline[]; total: number }>(address);
  const rows = data?.pipelines ?? [];
  const step = (by: number) => {
    const at = rows.findIndex((one) => one.pipeline_id === cursor);
    const next = rows[Math.max(0, Math.min(rows.length - 1, at + by))];
    if (next) setCursor(next.pipeline_id);
  };
  useShortcuts([
    { keys: "j", help: "Next row", run: () => step(1) },
    { keys: "k", help: "Row before", run: () => step(-1) },
    { keys: "Enter", help: "Open", run: () => cursor && go(pipelineHref(cursor)) },
  ]);
  return (
    <>
      <header class="head">
        <h1>Pipelines</h1>
        <div class="actions"><Upload done={(made, alone) => {
          void refresh(address);
          if (alone) go(pipelineHref(made[0]!));
        }} /></div>
      </header>
      <div class="bar">
        <div class="search">
          <Icon name="search" size={14} />
          <input class="field" type="search" data-search placeholder="Search pipelines" aria-label="Search pipelines" value={typed}
            onInput={(event) => type(event.currentTarget.value)} />
        </div>
      </div>
      {error && <div class="bar"><ErrorNotice error={error} what="Pipelines could not be loaded." /></div>}
      {!data && loading ? <SkeletonRows /> : rows.length ? (
        <Table label="Pipelines" columns={COLUMNS} rows={rows} id={(one) => one.pipeline_id} cursor={cursor}
          onOpen={(one) => go(pipelineHref(one.pipeline_id))} />
      ) : data ? (
        q ? <Empty title="No pipeline fits">Nothing stored has these words. <a href="#/pipelines">Show all</a></Empty> : (
          <Empty title="No pipelines stored yet" commands={["mlplatform compile pipeline.py", "mlplatform run pipeline.yaml"]}>
            Upload what the KFP compiler or mlplatform compile wrote, and start runs of it here with a form. Running a file
            from the command line or a notebook needs no upload.
          </Empty>
        )
      ) : null}
    </>
  );
}

/** Files chosen by hand. `into`: a pipeline that gets a further version. `done` is told what was made, and whether that is
 * all somebody wanted. */
export function Upload({ done, into }: { done: (ids: string[], alone: boolean) => void; into?: string }) {
  const input = useRef<HTMLInputElement>(null);
  const [busy, setBusy] = useState(false);
  const send = async (files: File[]) => {
    const made: string[] = [];
    setBusy(true);
    const address = url(into ? `pipelines/${encodeURIComponent(into)}/versions` : "pipelines");
    const title = files.length > 1 ? "Storing pipelines" : `Storing ${files[0]!.name}`;
    const came = await inParts(title, files, 1, async ([file], how) => {
      const form = new FormData();
      form.set("file", file!);
      try {
        const told = await upload<any>(address, form, how.share, how.signal);
        made.push(into ? told.version_id : told.pipeline.pipeline_id);
      } catch (error) {
        if ((error as Error).name === "AbortError") toast(<p>{`Stopped: ${file!.name} may not be stored.`}</p>);
        else toast(<ErrorNotice error={error} what={`${file!.name} was not stored.`} />, "", 20);
      }
    });
    setBusy(false);
    if (made.length) toast(<p>{into ? "The version is stored." : made.length === 1 ? "The pipeline is stored." : `${counted(made.length, "pipeline")} stored.`}</p>);
    if (came < files.length) toast(<p>{`Stopped: ${counted(files.length - came, "file was", "files were")} left out.`}</p>);
    if (made.length) done(made, files.length === 1);
  };
  return (
    <>
      <input ref={input} type="file" hidden accept=".yaml,.yml,.json,.zip,.gz,.tgz" data-upload aria-label="Pipeline file"
        multiple={!into} onChange={(event) => {
          const files = [...(event.currentTarget.files ?? [])];
          event.currentTarget.value = "";
          if (files.length) void send(files);
        }} />
      <button type="button" class="btn" disabled={busy} onClick={() => input.current?.click()}>
        <Icon name="plus" size={14} /> {busy ? "Storing" : into ? "Upload a version" : "Upload a pipeline"}
      </button>
    </>
  );
}
