/** What /api/v1 answers, by hand from its OpenAPI document. Times are seconds since the epoch, UTC. */

export type TaskState =
  | "PENDING" | "QUEUED" | "RUNNING" | "RETRYING" | "SUCCEEDED" | "CACHED" | "FAILED" | "SKIPPED" | "CANCELLED";
export type RunState = "PENDING" | "RUNNING" | "CANCELLING" | "SUCCEEDED" | "FAILED" | "CANCELLED";
/** WAITING: queued or pending with a reason to tell. */
export type State = TaskState | RunState | "WAITING";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

export interface Failure {
  code: string;
  message: string;
  hint: string;
  traceback: string;
}

export interface Origin {
  pipeline_id: string;
  version_id: string;
  recurring_id: string;
  scheduled_for: string;
  rerun_of: string;
}

export interface RunSummary {
  run_id: string;
  name: string;
  pipeline: string;
  experiment: string;
  state: RunState;
  created_at: number;
  started_at: number | null;
  finished_at: number | null;
  priority: number;
  tags: Record<string, string>;
  note: string;
  archived: boolean;
  error: Failure | null;
  progress: { done: number; total: number } | null;
  origin: Origin;
  mlflow_run_id: string;
}

export interface RunPage {
  runs: RunSummary[];
  next_cursor: string;
  counts: Record<string, number>;
}

export interface RunDetail extends RunSummary {
  seq: number;
  inputs: Record<string, Json>;
  outputs: Record<string, Json>;
  document: string;
  context: Record<string, Json>;
  mlflow: string;
  counts: Record<string, number>;
  commands: Record<string, string>;
}

export interface TaskTable {
  run_id: string;
  seq: number;
  base: number;
  dictionaries: Record<"name" | "component" | "state" | "note" | "error", string[]>;
  columns: {
    name: number[];
    iteration: number[][];
    state: number[];
    group: number[];
    component: number[];
    attempts: number[];
    created: (number | null)[];
    started: (number | null)[];
    finished: (number | null)[];
    note: number[];
    error: number[];
  };
}

export interface Artifact {
  name: string;
  type: string;
  uri: string;
  metadata: Record<string, Json>;
  digest: string;
  size: number | null;
}

export interface Attempt {
  attempt: number;
  state: TaskState;
  started_at: number | null;
  finished_at: number | null;
  exit_code: number | null;
  error: Failure | null;
  log_size: number | null;
}

export interface Code {
  kind: "python" | "notebook" | "container" | "importer" | "group";
  component: string;
  image: string;
  command: string[];
  args: string[];
  source: string;
  packages: string[];
}

export interface TaskDetail {
  run_id: string;
  name: string;
  iteration: number[];
  state: TaskState;
  is_group: boolean;
  component: string;
  why: string;
  waiting_for: string;
  cache_key: string;
  cached_from: string;
  inputs: Record<string, Json>;
  outputs: Record<string, Json>;
  error: Failure | null;
  created_at: number | null;
  started_at: number | null;
  finished_at: number | null;
  retry_at: number | null;
  mlflow_run_id: string;
  mlflow: string;
  /** The training job that it is, where several ranks run it. */
  training: string;
  attempts: Attempt[];
  metrics: Record<string, number>;
  code: Code | null;
  cost: { seconds: number; asked: Record<string, string> };
  commands: Record<string, string>;
}

export type NodeKind = "task" | "importer" | "notebook" | "dag" | "condition" | "loop" | "exit";

export interface GraphNode {
  id: string;
  name: string;
  kind: NodeKind;
  parent: string;
  component: string;
  detail: string;
}

/** [x, y, width, height] in pixels. */
export type Box = [number, number, number, number];

export interface Graph {
  document: string;
  nodes: GraphNode[];
  edges: { source: string; target: string; labels: string[] }[];
  layout: {
    width: number;
    height: number;
    nodes: Record<string, Box>;
    groups: Record<string, Box>;
    edges: [string, string, number[]][];
  };
}

export interface TaskPlace {
  run_id: string;
  task: string;
  iteration: number[];
}

export interface ArtifactLink extends TaskPlace {
  role: "output" | "reuse" | "input";
  name: string;
  position: number;
  uri: string;
  digest: string;
  type: string;
  size: number | null;
}

export interface ArtifactDetail {
  artifact: Artifact;
  made_by: TaskPlace[];
  used_by: TaskPlace[];
  reused_by: TaskPlace[];
  content: string;
  raw: string;
  exists: boolean | null;
}

export interface Preview {
  kind:
    | "text" | "json" | "markdown" | "table" | "image" | "html" | "notebook" | "metrics" | "confusion_matrix" | "roc"
    | "tree" | "binary" | "none";
  note: string;
  text: string;
  truncated: boolean;
  columns: string[];
  rows: string[][];
  total: number | null;
  url: string;
  metrics: Record<string, Json>;
  labels: string[];
  matrix: number[][];
  curve: number[][];
  entries: { path: string; size: number; url: string }[];
}

export interface LogPart {
  attempt: number;
  offset: number;
  next_offset: number;
  size: number;
  complete: boolean;
  text: string;
}

export interface LiveEvent {
  seq: number;
  run_id: string;
  at: number;
  kind: string;
  body: any;
}

export interface InputField {
  name: string;
  type: "NUMBER_INTEGER" | "NUMBER_DOUBLE" | "STRING" | "BOOLEAN" | "LIST" | "STRUCT" | "TASK_FINAL_STATUS" | "TASK_CONFIG";
  required: boolean;
  has_default: boolean;
  default: Json;
  description: string;
  literals: Json[];
}

export interface Pipeline {
  pipeline_id: string;
  name: string;
  display_name: string;
  description: string;
  created_at: number;
  versions: number;
}

export interface Version {
  version_id: string;
  pipeline_id: string;
  name: string;
  display_name: string;
  description: string;
  created_at: number;
  document: string;
  code_source_url: string;
}

export interface VersionDetail extends Version {
  pipeline_name: string;
  inputs: InputField[];
  artifacts: string[];
  text: string;
}

export interface PipelineDetail extends Pipeline {
  newest: VersionDetail | null;
}

export interface Trigger {
  cron: string;
  interval: number;
  timezone: string;
  start: number | null;
  end: number | null;
}

export interface Recurring {
  recurring_id: string;
  name: string;
  description: string;
  experiment: string;
  enabled: boolean;
  trigger: Trigger;
  catchup: boolean;
  max_concurrency: number;
  pipeline_id: string;
  version_id: string;
  parameters: Record<string, Json>;
  cache: boolean;
  priority: number;
  created_at: number;
  updated_at: number;
  ticked_at: number;
  next: number[];
  active: number;
  trouble: string;
}
