/** The cluster: nodes and their accelerators, what is free, who waits and why. */

import "../styles/run.css";
import "../styles/training.css";
import { useEffect } from "preact/hooks";
import { url } from "../base/api";
import { counted, size } from "../base/format";
import { useShortcuts } from "../base/keys";
import { useTrainingChanged } from "../base/live";
import { refresh, useResource } from "../base/resource";
import { href, place, update } from "../base/router";
import type { ClusterNode, ClusterView } from "../base/training";
import { Ago, Empty, ErrorNotice, Notice, SkeletonRows } from "../parts/basics";
import { Mark, StateWord } from "../parts/state";
import { jobHref } from "../training/words";

const sum = (numbers: number[]) => numbers.reduce((all, one) => all + one, 0);
const total = (node: ClusterNode) => sum(node.accelerators.map((one) => one.total));
const used = (node: ClusterNode) => sum(node.accelerators.map((one) => one.used));
const kind = (node: ClusterNode) => node.product || node.accelerators[0]?.resource || "no accelerator";
const usable = (node: ClusterNode) => node.ready && node.schedulable;

export default function ClusterPage() {
  const address = url("cluster");
  const { data, error } = useResource<ClusterView>(address);
  const again = () => void refresh(address);
  useTrainingChanged(again, undefined, 1000);
  useEffect(() => {
    const timer = window.setInterval(() => !document.hidden && again(), 10_000); // nodes and the pods of others tell nobody
    return () => window.clearInterval(timer);
  }, []);
  const only = place.value.query.get("free") === "1";
  useShortcuts([{ keys: "f", help: "Only nodes with something free", run: () => update({ free: only ? null : 1 }) }]);
  return (
    <>
      <header class="head"><h1>Cluster</h1>{data && <span class="facts"><span>namespace <code>{data.namespace}</code></span></span>}</header>
      {error && <div class="bar"><ErrorNotice error={error} what="The cluster could not be looked at." /></div>}
      {!data ? !error && <SkeletonRows /> : (
        <div class="body cluster" tabIndex={0} role="region" aria-label="The cluster">
          {data.notes.map((one) => <Notice key={one} tone="warn"><p>{one}</p></Notice>)}
          <Free nodes={data.nodes} />
          <Waiting view={data} />
          <Nodes nodes={data.nodes} only={only} />
          {data.quotas.length > 0 && <Quotas view={data} />}
        </div>
      )}
    </>
  );
}

/** What there is of each product, in one line each. */
function Free({ nodes }: { nodes: ClusterNode[] }) {
  const kinds = [...new Set(nodes.filter((one) => total(one)).map(kind))].sort();
  if (!kinds.length) return null;
  return (
    <section class="section">
      <h2>Free</h2>
      <dl class="figures large">
        {kinds.map((name) => {
          const own = nodes.filter((one) => kind(one) === name && total(one));
          const open = own.filter(usable);
          const free = sum(open.map((one) => total(one) - used(one)));
          return (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{free} <span class="muted">of {sum(own.map(total))} on {counted(own.length, "node")}{own.length > open.length ? `, ${own.length - open.length} closed` : ""}; most on one: {Math.max(0, ...open.map((one) => total(one) - used(one)))}</span></dd>
            </div>
          );
        })}
      </dl>
    </section>
  );
}

function Waiting({ view }: { view: ClusterView }) {
  const jobs = new Set(view.waiting_jobs.map((one) => one.name));
  const pods = view.waiting.filter((one) => !jobs.has(one.training_job));
  return (
    <section class="section">
      <h2>Who waits, and why</h2>
      {!view.waiting_jobs.length && !pods.length ? <p class="muted">Nothing waits for a place.</p> : (
        <table class="plain" aria-label="Who waits">
          <thead><tr><th>State</th><th>What</th><th class="num">Accelerators</th><th>Why</th><th>Since</th></tr></thead>
          <tbody>
            {view.waiting_jobs.map((one) => (
              <tr key={one.name}>
                <td><StateWord state={one.phase} /></td><td><a href={jobHref(one.name)}>{one.name}</a></td>
                <td class="num">{one.accelerators || ""}</td><td>{one.message || "nothing was said yet"}</td><td><Ago at={one.created_at} /></td>
              </tr>
            ))}
            {pods.map((one) => (
              <tr key={one.pod}>
                <td><StateWord state="Pending" /></td><td>{one.run ? <a href={href(["runs"], { q: one.run })}>{one.pod}</a> : one.pod}</td>
                <td class="num">{one.accelerators || ""}</td><td>{one.why || "the scheduler has not looked at it yet"}</td><td />
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

function Nodes({ nodes, only }: { nodes: ClusterNode[]; only: boolean }) {
  if (!nodes.length) return <Empty title="No nodes can be seen">Whoever runs the cluster can give this server the right to list nodes (operators/server/rights.yaml).</Empty>;
  const shown = nodes.filter((one) => !only || (usable(one) && total(one) > used(one)))
    .sort((a, b) => total(b) - total(a) || kind(a).localeCompare(kind(b)) || a.name.localeCompare(b.name, undefined, { numeric: true }));
  return (
    <section class="section">
      <div class="bar flush">
        <h2>{counted(shown.length, "node")}</h2>
        <button type="button" class="btn small" aria-pressed={only} onClick={() => update({ free: only ? null : 1 })}>Only with something free</button>
        <span class="legend"><span><i class="cell taken" aria-hidden="true" />taken</span><span><i class="cell other" aria-hidden="true" />by others</span><span><i class="cell free" aria-hidden="true" />free</span></span>
      </div>
      <table class="plain nodes" aria-label="Nodes">
        <thead><tr><th>Node</th><th>Accelerators</th><th>Free</th><th class="num">Cores</th><th class="num">Memory</th><th class="num">Pods</th></tr></thead>
        <tbody>{shown.map((one) => <Node key={one.name} node={one} />)}</tbody>
      </table>
    </section>
  );
}

function Node({ node }: { node: ClusterNode }) {
  const closed = !node.ready ? "not ready" : node.schedulable ? "" : "closed to new pods";
  return (
    <tr class={closed ? "closed" : ""}>
      <td>
        <span class="state"><Mark state={node.ready ? (node.schedulable ? "SUCCEEDED" : "CANCELLED") : "FAILED"} /> {node.name}</span>
        <div class="muted">{[closed, node.zone, ...node.taints].filter(Boolean).join(" · ")}</div>
      </td>
      <td>
        {node.accelerators.map((one) => (
          <div key={one.resource} class="facts tight">
            <span class="cells" role="img" aria-label={`${one.used} of ${one.total} taken`}>
              {one.by.flatMap((user) => Array.from({ length: user.count }, (_, at) => (
                <i key={`${user.pod}-${at}`} class={`cell ${user.pod ? "taken" : "other"}`} title={user.training_job || user.pod || "another namespace"} />
              )))}
              {Array.from({ length: Math.max(0, one.total - one.used) }, (_, at) => <i key={at} class="cell free" title="free" />)}
            </span>
            <span>{node.product || one.resource}{node.accelerator_memory_mib ? <span class="muted"> {size(node.accelerator_memory_mib * 1048576)}</span> : null}</span>
            {[...new Set(one.by.map((user) => user.training_job).filter(Boolean))].map((name) => <a class="chip link" key={name} href={jobHref(name)}>{name}</a>)}
          </div>
        ))}
      </td>
      <td class="nowrap">{total(node) ? `${Math.max(0, total(node) - used(node))} of ${total(node)}` : ""}</td>
      <td class="num">{round(node.cpu_used)} <span class="muted">/ {round(node.cpu)}</span></td>
      <td class="num nowrap">{size(node.memory_used)} <span class="muted">/ {size(node.memory)}</span></td>
      <td class="num">{node.pods}</td>
    </tr>
  );
}

const round = (number: number) => Math.round(number * 10) / 10;

function Quotas({ view }: { view: ClusterView }) {
  return (
    <section class="section">
      <h2>Quota of the namespace</h2>
      <table class="plain" aria-label="Quotas">
        <thead><tr><th>Quota</th><th>Of</th><th class="num">Used</th><th class="num">At most</th></tr></thead>
        <tbody>{view.quotas.map((one) => <tr key={one.quota + one.resource}><td>{one.quota}</td><td>{one.resource}</td><td class="num">{one.used}</td><td class="num">{one.hard}</td></tr>)}</tbody>
      </table>
    </section>
  );
}
