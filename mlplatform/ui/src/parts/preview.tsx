/** What is in an artifact. Pages of other people's making are shown in frames that can do nothing here. */

import { url } from "../base/api";
import { counted, size } from "../base/format";
import { useResource } from "../base/resource";
import { update, place } from "../base/router";
import type { Json, Preview as Shown } from "../base/types";
import { ErrorNotice, SkeletonRows } from "./basics";
import { Source } from "./source";

export function Preview({ uri, tall }: { uri: string; tall?: boolean }) {
  const path = place.value.query.get("file") ?? "";
  const { data, error } = useResource<Shown>(url("artifacts/preview", { uri, path }));
  if (error && !data) return <ErrorNotice error={error} what="There is no preview." />;
  if (!data) return <SkeletonRows count={4} />;
  return (
    <div class="stack">
      {path && <p><button type="button" class="btn small" onClick={() => update({ file: null })}>All files</button> <code>{path}</code></p>}
      <Content shown={data} tall={!!tall} />
      {data.truncated && data.kind !== "tree" && <p class="muted">Only the beginning is shown.</p>}
      {data.note && <p class="muted">{data.note}</p>}
    </div>
  );
}

function Content({ shown, tall }: { shown: Shown; tall: boolean }) {
  switch (shown.kind) {
    case "image":
      return <img class="preview" src={shown.url} alt="The artifact" />;
    case "html":
    case "notebook":
      return <iframe class={`preview ${tall ? "tall" : ""}`} sandbox="allow-scripts" src={shown.url} title="The artifact" />;
    case "text":
      return <pre class="code" tabIndex={0}>{shown.text}</pre>;
    case "json":
      return <Source text={shown.text} />;
    case "markdown":
      return <Markdown text={shown.text} />;
    case "table":
      return <Grid shown={shown} />;
    case "metrics":
      return <Metrics metrics={shown.metrics} />;
    case "confusion_matrix":
      return <Confusion shown={shown} />;
    case "roc":
      return <Curve curve={shown.curve} />;
    case "tree":
      return <Tree shown={shown} />;
    default:
      return shown.note ? null : <p class="muted">This cannot be shown; it can be saved.</p>;
  }
}

function Grid({ shown }: { shown: Shown }) {
  return (
    <div class="scroll framed" tabIndex={0} role="region" aria-label="Table">
      <table class="plain tight">
        <thead><tr>{shown.columns.map((name, at) => <th key={at}>{name}</th>)}</tr></thead>
        <tbody>
          {shown.rows.map((row, at) => <tr key={at}>{row.map((cell, column) => <td key={column}>{cell}</td>)}</tr>)}
        </tbody>
      </table>
      {shown.total !== null && <p class="muted">{shown.rows.length} of {counted(shown.total, "row")}</p>}
    </div>
  );
}

export function Metrics({ metrics }: { metrics: Record<string, Json> }) {
  const all = Object.entries(metrics);
  if (!all.length) return <p class="muted">No metric was logged.</p>;
  return <dl class="kv">{all.map(([name, value]) => <div class="pair" key={name}><dt>{name}</dt><dd><code>{String(value)}</code></dd></div>)}</dl>;
}

function Confusion({ shown }: { shown: Shown }) {
  const most = Math.max(1e-9, ...shown.matrix.flat());
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Confusion matrix">
      <table class="matrix">
        <caption class="sr">Rows: what is true. Columns: what was predicted.</caption>
        <thead><tr><td />{shown.labels.map((label) => <th scope="col" key={label}>{label}</th>)}</tr></thead>
        <tbody>
          {shown.matrix.map((row, at) => (
            <tr key={at}>
              <th scope="row">{shown.labels[at]}</th>
              {row.map((value, column) => (
                <td key={column} class={value / most > 0.5 ? "strong" : ""} style={{ "--share": String(Math.round((value / most) * 100) / 100) }}>{value}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Curve({ curve }: { curve: number[][] }) {
  const points = curve.map(([x, y]) => `${40 + (x ?? 0) * 240},${250 - (y ?? 0) * 240}`).join(" ");
  const area = curve.reduce((sum, [x, y], at) => (at ? sum + Math.abs((x ?? 0) - (curve[at - 1]![0] ?? 0)) * ((y ?? 0) + (curve[at - 1]![1] ?? 0)) / 2 : 0), 0);
  return (
    <figure>
      <svg width="300" height="280" class="plot" role="img" aria-label={`ROC curve, area ${area.toFixed(3)}`}>
        <path class="axis" d="M40 10V250H280" />
        <path class="axis faint" d="M40 250L280 10" />
        <polyline class="series c0" points={points} />
        <text x="160" y="272" text-anchor="middle">false positives</text>
        <text x="14" y="130" text-anchor="middle" transform="rotate(-90 14 130)">true positives</text>
      </svg>
      <figcaption class="muted">Area {area.toFixed(4)}</figcaption>
    </figure>
  );
}

function Tree({ shown }: { shown: Shown }) {
  return (
    <table class="plain">
      <thead><tr><th>File</th><th class="num">Size</th></tr></thead>
      <tbody>
        {shown.entries.map((one) => (
          <tr key={one.path}>
            <td><button type="button" class="btn quiet small" onClick={() => update({ file: one.path })}>{one.path}</button></td>
            <td class="num muted">{size(one.size)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The part of Markdown that reports use; anything else stays as it was written. Never markup of the author's own. */
export function Markdown({ text }: { text: string }) {
  const blocks = text.replace(/\r\n/g, "\n").split(/\n{2,}/);
  return (
    <div class="markdown">
      {blocks.map((block, at) => {
        const head = /^(#{1,6})\s+(.*)$/.exec(block.trim());
        if (head) return <h3 key={at} class={`h${head[1]!.length}`}>{inline(head[2]!)}</h3>;
        if (block.startsWith("```")) return <pre key={at} class="code" tabIndex={0}>{block.replace(/^```.*\n?/, "").replace(/\n?```$/, "")}</pre>;
        const lines = block.split("\n");
        if (lines.length > 1 && /^\s*\|?[\s:|-]+\|?\s*$/.test(lines[1]!) && lines[0]!.includes("|")) {
          const cells = (line: string) => line.replace(/^\s*\||\|\s*$/g, "").split("|").map((cell) => cell.trim());
          return (
            <table key={at} class="plain tight">
              <thead><tr>{cells(lines[0]!).map((cell, n) => <th key={n}>{inline(cell)}</th>)}</tr></thead>
              <tbody>{lines.slice(2).map((line, row) => <tr key={row}>{cells(line).map((cell, n) => <td key={n}>{inline(cell)}</td>)}</tr>)}</tbody>
            </table>
          );
        }
        if (lines.every((line) => /^\s*[-*+]\s/.test(line))) {
          return <ul key={at}>{lines.map((line, n) => <li key={n}>{inline(line.replace(/^\s*[-*+]\s/, ""))}</li>)}</ul>;
        }
        return <p key={at}>{inline(block)}</p>;
      })}
    </div>
  );
}

function inline(text: string) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*]+\*)/).map((piece, at) =>
    piece.startsWith("`") && piece.length > 2 ? <code key={at}>{piece.slice(1, -1)}</code>
      : piece.startsWith("**") && piece.length > 4 ? <strong key={at}>{piece.slice(2, -2)}</strong>
        : piece.startsWith("*") && piece.length > 2 ? <em key={at}>{piece.slice(1, -1)}</em> : piece,
  );
}
