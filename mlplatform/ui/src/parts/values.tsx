/** Inputs and outputs: parameters as they are, artifacts as links to their page. */

import { href } from "../base/router";
import { size } from "../base/format";
import type { Artifact, Json } from "../base/types";
import { Copy } from "./basics";

export function isArtifact(value: unknown): value is Artifact {
  return typeof value === "object" && value !== null && "uri" in value && "digest" in value && "type" in value;
}

export function artifactHref(artifact: { uri: string }): string {
  return href(["artifacts"], { uri: artifact.uri });
}

export function typeWord(type: string): string {
  return type.replace(/^system\./, "");
}

export function ArtifactLine({ artifact }: { artifact: Artifact }) {
  return (
    <span class="artifact">
      <a href={artifactHref(artifact)}>{typeWord(artifact.type)}</a>
      <span class="muted"> {size(artifact.size)}</span>
      {artifact.digest && <code class="muted" title={artifact.digest}> {artifact.digest.replace(/^sha256:/, "").slice(0, 10)}</code>}
    </span>
  );
}

export function Value({ value }: { value: Json | Artifact | Artifact[] }) {
  if (isArtifact(value)) return <ArtifactLine artifact={value} />;
  if (Array.isArray(value) && value.length && value.every(isArtifact)) {
    return (
      <ul>
        {(value as unknown as Artifact[]).slice(0, 50).map((one, at) => (
          <li key={at}><span class="muted">{at} </span><ArtifactLine artifact={one} /></li>
        ))}
        {value.length > 50 && <li class="muted">and {value.length - 50} more</li>}
      </ul>
    );
  }
  if (typeof value === "string") return value.includes("\n") || value.length > 200 ? <pre tabIndex={0}>{value}</pre> : <code>{value || '""'}</code>;
  if (value === null || typeof value !== "object") return <code>{String(value)}</code>;
  const flat = JSON.stringify(value);
  return flat.length < 80 ? <code>{flat}</code> : <pre tabIndex={0}>{JSON.stringify(value, null, 2)}</pre>;
}

export function Values({ values, none }: { values: Record<string, Json>; none: string }) {
  const all = Object.entries(values);
  if (!all.length) return <p class="muted">{none}</p>;
  return (
    <dl class="kv">
      {all.map(([name, value]) => (
        <div class="pair" key={name}>
          <dt class="copy">{name}</dt>
          <dd class="copy">
            <span class="grow"><Value value={value} /></span>
            {!isArtifact(value) && <Copy text={typeof value === "string" ? value : JSON.stringify(value)} label={`Copy ${name}`} />}
          </dd>
        </div>
      ))}
    </dl>
  );
}
