/** What a pipeline takes, asked for by its types. */

import { useMemo, useState } from "preact/hooks";
import { ApiError, part, post, url } from "../base/api";
import { go, href } from "../base/router";
import { useResource } from "../base/resource";
import type { InputField, Json, VersionDetail } from "../base/types";
import { Dialog, ErrorNotice } from "./basics";

const WORDS: Record<InputField["type"], string> = {
  NUMBER_INTEGER: "whole number", NUMBER_DOUBLE: "number", STRING: "text", BOOLEAN: "yes or no", LIST: "list, as JSON",
  STRUCT: "object, as JSON", TASK_FINAL_STATUS: "given by the platform", TASK_CONFIG: "given by the platform",
};

function asText(field: InputField): string {
  if (!field.has_default || field.default === null) return "";
  return typeof field.default === "string" ? field.default : JSON.stringify(field.default);
}

/** The value, or why it is none. Undefined: not given, the default counts. */
export function read(field: InputField, text: string): { value?: Json; wrong?: string } {
  if (text === "" && field.type !== "STRING") return field.required ? { wrong: "It has no default: a value is needed." } : {};
  switch (field.type) {
    case "NUMBER_INTEGER":
      return /^[+-]?\d+$/.test(text.trim()) ? { value: Number(text) } : { wrong: "A whole number is needed: 3" };
    case "NUMBER_DOUBLE":
      return text.trim() !== "" && Number.isFinite(Number(text)) ? { value: Number(text) } : { wrong: "A number is needed: 0.5" };
    case "BOOLEAN":
      return { value: text === "true" };
    case "LIST":
    case "STRUCT":
      try {
        const value = JSON.parse(text) as Json;
        const list = Array.isArray(value);
        if (field.type === "LIST" ? list : value !== null && typeof value === "object" && !list) return { value };
        return { wrong: field.type === "LIST" ? 'A list is needed: ["a", "b"]' : 'An object is needed: {"depth": 3}' };
      } catch (error) {
        return { wrong: `This is not JSON: ${(error as Error).message}` };
      }
    default:
      return { value: text };
  }
}

export interface Form {
  texts: Record<string, string>;
  set: (name: string, text: string) => void;
  /** Null while something is wrong. */
  values: Record<string, Json> | null;
  wrong: Record<string, string>;
}

export function useForm(fields: InputField[], given: Record<string, Json> = {}): Form {
  const first = useMemo(
    () => Object.fromEntries(fields.map((field) => {
      const value = given[field.name];
      return [field.name, value === undefined ? asText(field) : typeof value === "string" ? value : JSON.stringify(value)];
    })),
    [fields],
  );
  const [changed, setChanged] = useState<Record<string, string>>({});
  const texts = { ...first, ...changed };
  const values: Record<string, Json> = {};
  const wrong: Record<string, string> = {};
  for (const field of fields) {
    if (field.type.startsWith("TASK_")) continue;
    const found = read(field, texts[field.name] ?? "");
    if (found.wrong) wrong[field.name] = found.wrong;
    else if (found.value !== undefined && (changed[field.name] !== undefined || field.name in given || !field.has_default)) values[field.name] = found.value;
  }
  return { texts, set: (name, text) => setChanged({ ...changed, [name]: text }), values: Object.keys(wrong).length ? null : values, wrong };
}

export function Fields({ fields, form, tried, findings = {} }: {
  fields: InputField[]; form: Form; tried: boolean; findings?: Record<string, string>;
}) {
  if (!fields.length) return <p class="muted">This pipeline takes no parameters.</p>;
  return (
    <>
      {fields.map((field) => {
        const id = `field-${field.name}`;
        const text = form.texts[field.name] ?? "";
        const wrong = findings[field.name] ?? (tried || text !== "" ? form.wrong[field.name] : undefined);
        const common = {
          id,
          "aria-invalid": wrong ? ("true" as const) : undefined,
          "aria-describedby": wrong || field.description ? `${id}-about` : undefined,
          onInput: (event: { currentTarget: { value: string } }) => form.set(field.name, event.currentTarget.value),
        };
        return (
          <div class="stack" key={field.name}>
            <label for={id} class="label">
              {field.name}
              <span class="muted">{WORDS[field.type]}{field.required ? "" : ", optional"}</span>
            </label>
            {field.literals.length ? (
              <select class="field" value={text} {...common}>
                {field.literals.map((one) => {
                  const shown = typeof one === "string" ? one : JSON.stringify(one);
                  return <option key={shown} value={shown}>{shown}</option>;
                })}
              </select>
            ) : field.type === "BOOLEAN" ? (
              <select class="field" value={text || "false"} {...common}>
                <option value="true">true</option>
                <option value="false">false</option>
              </select>
            ) : field.type === "LIST" || field.type === "STRUCT" || text.includes("\n") ? (
              <textarea class="field" rows={3} spellcheck={false} value={text} {...common} />
            ) : (
              <input class="field" type="text" inputMode={field.type.startsWith("NUMBER") ? "decimal" : undefined} value={text} {...common} />
            )}
            {(wrong || field.description) && (
              <span id={`${id}-about`} class={wrong ? "wrong" : "about"}>{wrong ?? field.description}</span>
            )}
          </div>
        );
      })}
    </>
  );
}

/** What the server found wrong with single parameters. */
export function byField(error: unknown): Record<string, string> {
  if (!(error instanceof ApiError)) return {};
  return Object.fromEntries(error.findings.map((one) => [one.path.replace(/^parameters\.?/, "").replace(/[[\]'"]/g, ""), one.message]));
}

export function quoted(text: string): string {
  return /^[\w.,:/@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

export function NewRun({ version, onClose }: { version: VersionDetail; onClose: () => void }) {
  const form = useForm(version.inputs);
  const [name, setName] = useState("");
  const [experiment, setExperiment] = useState("");
  const [cache, setCache] = useState(true);
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const experiments = useResource<{ experiments: { name: string }[] }>(url("experiments"));

  const start = async () => {
    setTried(true);
    if (!form.values) return;
    setBusy(true);
    try {
      const made = await post<{ run_id: string }>(url("runs"), {
        pipeline_id: version.pipeline_id, version_id: version.version_id, name, experiment, parameters: form.values, cache,
      });
      go(href(["runs", "details", made.run_id]));
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  const words = Object.entries(form.values ?? {}).map(([key, value]) => ` -p ${quoted(`${key}=${typeof value === "string" ? value : JSON.stringify(value)}`)}`);
  return (
    <Dialog title={`Run ${version.pipeline_name}`} onClose={onClose} footer={
      <>
        <span class="grow muted mono cut" title="The same on the command line">mlplatform run {version.pipeline_name}.yaml{words.join("")}</span>
        <button type="button" class="btn" onClick={onClose}>Leave</button>
        <button type="button" class="btn primary" disabled={busy} onClick={() => void start()}>{busy ? "Starting" : "Start the run"}</button>
      </>
    }>
      <form class="form" onSubmit={(event) => {
        event.preventDefault();
        void start();
      }}>
        {error !== null && <ErrorNotice error={error} what="The run was not started." />}
        <Fields fields={version.inputs} form={form} tried={tried} findings={byField(error)} />
        <div class="pairrow">
          <label class="grow"><span class="label">Name <span class="muted">optional</span></span>
            <input class="field" value={name} onInput={(event) => setName(event.currentTarget.value)} /></label>
          <label class="grow"><span class="label">Experiment <span class="muted">optional</span></span>
            <input class="field" list="experiments" value={experiment} onInput={(event) => setExperiment(event.currentTarget.value)} />
            <datalist id="experiments">{experiments.data?.experiments.map((one) => <option key={one.name} value={one.name} />)}</datalist></label>
        </div>
        <label class="check"><input type="checkbox" checked={cache} onChange={(event) => setCache(event.currentTarget.checked)} /> Reuse results that are still good</label>
        <button type="submit" hidden />
      </form>
    </Dialog>
  );
}

export function useVersions(pipeline: string | null) {
  return useResource<{ versions: import("../base/types").Version[] }>(pipeline ? url(`pipelines/${part(pipeline)}/versions`) : null);
}
