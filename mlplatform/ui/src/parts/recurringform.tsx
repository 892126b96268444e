/** When a pipeline runs by itself: an interval or a cron line, with the next times it means shown at once. */

import { useEffect, useState } from "preact/hooks";
import { ApiError, post, url } from "../base/api";
import { absolute } from "../base/format";
import { go, href } from "../base/router";
import type { Recurring, Trigger, VersionDetail } from "../base/types";
import { Dialog, ErrorNotice } from "./basics";
import { byField, Fields, useForm } from "./runform";

const UNITS = { minutes: 60, hours: 3600, days: 86400 } as const;
const HERE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

export function NewRecurring({ version, onClose }: { version: VersionDetail; onClose: () => void }) {
  const form = useForm(version.inputs);
  const [name, setName] = useState(version.pipeline_name);
  const [kind, setKind] = useState<"interval" | "cron">("interval");
  const [every, setEvery] = useState("1");
  const [unit, setUnit] = useState<keyof typeof UNITS>("hours");
  const [cron, setCron] = useState("0 6 * * 1-5");
  const [timezone, setTimezone] = useState(HERE);
  const [catchup, setCatchup] = useState(false);
  const [newest, setNewest] = useState(true);
  const [most, setMost] = useState("1");
  const [tried, setTried] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [next, setNext] = useState<{ times: number[]; wrong: string }>({ times: [], wrong: "" });

  const trigger: Trigger = kind === "cron"
    ? { cron, interval: 0, timezone, start: null, end: null }
    : { cron: "", interval: Number(every) * UNITS[unit], timezone: "UTC", start: null, end: null };
  const key = JSON.stringify(trigger);
  useEffect(() => {
    let stopped = false;
    const timer = window.setTimeout(() => {
      post<{ next: number[] }>(url("recurring-runs/check"), trigger)
        .then((told) => !stopped && setNext({ times: told.next, wrong: "" }))
        .catch((problem) => !stopped && setNext({ times: [], wrong: problem instanceof ApiError ? problem.findings[0]?.message || problem.message : "" }));
    }, 250);
    return () => {
      stopped = true;
      window.clearTimeout(timer);
    };
  }, [key]);

  const make = async () => {
    setTried(true);
    if (!form.values || next.wrong) return;
    try {
      const made = await post<Recurring>(url("recurring-runs"), {
        name, trigger, pipeline_id: version.pipeline_id, version_id: newest ? "" : version.version_id, parameters: form.values,
        catchup, max_concurrency: Math.max(1, Number(most) || 1),
      });
      go(href(["recurringruns", "details", made.recurring_id]));
    } catch (problem) {
      setError(problem);
    }
  };
  return (
    <Dialog title={`Run ${version.pipeline_name} regularly`} onClose={onClose} footer={
      <>
        <button type="button" class="btn" onClick={onClose}>Leave</button>
        <button type="button" class="btn primary" onClick={() => void make()}>Make the recurring run</button>
      </>
    }>
      <div class="form">
        {error !== null && <ErrorNotice error={error} what="It was not made." />}
        <label><span class="label">Name</span><input class="field" value={name} onInput={(event) => setName(event.currentTarget.value)} /></label>
        <div class="seg" role="group" aria-label="When">
          <button type="button" aria-pressed={kind === "interval"} onClick={() => setKind("interval")}>Every so often</button>
          <button type="button" aria-pressed={kind === "cron"} onClick={() => setKind("cron")}>By a cron line</button>
        </div>
        {kind === "interval" ? (
          <div class="pairrow">
            <label><span class="label">Every</span><input class="field" inputMode="decimal" value={every} onInput={(event) => setEvery(event.currentTarget.value)} /></label>
            <label><span class="label">Unit</span>
              <select class="field" value={unit} onChange={(event) => setUnit(event.currentTarget.value as keyof typeof UNITS)}>
                {Object.keys(UNITS).map((one) => <option key={one}>{one}</option>)}
              </select></label>
          </div>
        ) : (
          <div class="pairrow">
            <label class="grow"><span class="label">Cron <span class="muted">minute hour day month weekday</span></span>
              <input class="field mono" value={cron} onInput={(event) => setCron(event.currentTarget.value)} /></label>
            <label class="grow"><span class="label">Time zone</span>
              <input class="field" value={timezone} onInput={(event) => setTimezone(event.currentTarget.value)} /></label>
          </div>
        )}
        <div class="about" role="status">
          {next.wrong ? <span class="wrong">{next.wrong}</span> : next.times.length ? `Next: ${next.times.slice(0, 3).map(absolute).join(", ")}` : ""}
        </div>
        <Fields fields={version.inputs} form={form} tried={tried} findings={byField(error)} />
        <div class="pairrow">
          <label><span class="label">Runs at once, at most</span><input class="field" inputMode="numeric" value={most} onInput={(event) => setMost(event.currentTarget.value)} /></label>
        </div>
        <label class="check"><input type="checkbox" checked={newest} onChange={(event) => setNewest(event.currentTarget.checked)} /> Take the newest version each time</label>
        <label class="check"><input type="checkbox" checked={catchup} onChange={(event) => setCatchup(event.currentTarget.checked)} /> Make up for times that were missed</label>
      </div>
    </Dialog>
  );
}
