/** Shapes of what the server tells of training jobs and the cluster. Times are seconds since the epoch. */

export interface TrainingSummary {
  name: string;
  namespace: string;
  framework: string;
  phase: string;
  reason: string;
  message: string;
  suspend: boolean;
  created_at: number | null;
  started_at: number | null;
  finished_at: number | null;
  attempt: number;
  restarts: number;
  restarts_counted: number;
  max_restarts: number;
  ranks: { desired: number; active: number; ready: number; succeeded: number; failed: number };
  accelerators: number;
  percent: number | null;
  step: number | null;
  total_steps: number | null;
  eta_seconds: number | null;
  reported_at: number | null;
  checkpoint_step: number | null;
  goodput_percent: number | null;
  queue: string;
}

export interface TrainingPage {
  training_jobs: TrainingSummary[];
  total: number;
  note: string;
}

export interface Rank {
  group: string;
  rank: number;
  attempt: number;
  state: string;
  place: string;
  node: string;
  message: string;
  exit_code: number | null;
  started_at: number | null;
  finished_at: number | null;
}

export interface Attempt {
  number: number;
  started_at: number | null;
  ended_at: number | null;
  reason: string;
  message: string;
  group: string;
  rank: number | null;
  node: string;
  exit_code: number | null;
  action: string;
  counted: boolean;
  resumed_from_step: number | null;
}

export type Part = "productive" | "unsaved" | "queued" | "startup" | "restart" | "lost";
export type Goodput = { percent: number; wall_seconds: number } & Record<`${Part}_seconds`, number>;

export interface TrainingDetail extends TrainingSummary {
  groups: {
    name: string;
    role: string;
    desired: number;
    least: number | null;
    most: number | null;
    accelerators: number;
    active: number;
    ready: number;
    succeeded: number;
    failed: number;
    attempt: number;
  }[];
  rank_rows: Rank[];
  attempts: Attempt[];
  conditions: { type: string; status: string; reason: string; message: string; at: number | null }[];
  goodput: Goodput | null;
  metrics: Record<string, string>;
  slowest: string;
  lag_steps: number | null;
  checkpoint_at: number | null;
  checkpoint_uri: string;
  checkpoint_scope: string;
  mlflow_run_id: string;
  mlflow: string;
  commands: Record<string, string>;
}

export interface ClusterNode {
  name: string;
  ready: boolean;
  schedulable: boolean;
  taints: string[];
  product: string;
  accelerator_memory_mib: number | null;
  zone: string;
  accelerators: { resource: string; total: number; used: number; by: { pod: string; training_job: string; count: number }[] }[];
  cpu: number;
  cpu_used: number;
  memory: number;
  memory_used: number;
  pods: number;
}

export interface ClusterView {
  namespace: string;
  nodes: ClusterNode[];
  waiting: { pod: string; training_job: string; run: string; accelerators: number; why: string }[];
  waiting_jobs: TrainingSummary[];
  quotas: { quota: string; resource: string; hard: string; used: string }[];
  notes: string[];
}

export interface Surroundings {
  cluster: string;
  training: boolean;
}
