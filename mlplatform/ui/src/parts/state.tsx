/** A state is a shape, a colour and a word; the same signs as on the command line. */

import type { State } from "../base/types";

interface Look {
  word: string;
  tone: string;
  sign: string;
}

export const LOOKS: Record<State, Look> = {
  PENDING: { word: "pending", tone: "s-none", sign: "ring" },
  QUEUED: { word: "queued", tone: "s-none", sign: "ring" },
  WAITING: { word: "waiting", tone: "s-warn", sign: "clock" },
  RETRYING: { word: "retrying", tone: "s-warn", sign: "clock" },
  RUNNING: { word: "running", tone: "s-busy", sign: "half" },
  CANCELLING: { word: "cancelling", tone: "s-warn", sign: "half" },
  SUCCEEDED: { word: "succeeded", tone: "s-ok", sign: "disc" },
  CACHED: { word: "cached", tone: "s-reuse", sign: "again" },
  FAILED: { word: "failed", tone: "s-bad", sign: "cross" },
  SKIPPED: { word: "skipped", tone: "s-none", sign: "dash" },
  CANCELLED: { word: "cancelled", tone: "s-warn", sign: "stop" },
};

/** Words of training jobs and their ranks. */
const TRAINING: Record<string, Look> = {
  Created: { word: "created", tone: "s-none", sign: "ring" },
  Absent: { word: "not there", tone: "s-none", sign: "ring" },
  Pending: { word: "pending", tone: "s-warn", sign: "clock" },
  Queued: { word: "queued", tone: "s-warn", sign: "clock" },
  Starting: { word: "starting", tone: "s-busy", sign: "half" },
  Running: { word: "running", tone: "s-busy", sign: "half" },
  Restarting: { word: "restarting", tone: "s-warn", sign: "again" },
  Suspending: { word: "suspending", tone: "s-warn", sign: "half" },
  Suspended: { word: "suspended", tone: "s-none", sign: "pause" },
  Stopping: { word: "stopping", tone: "s-warn", sign: "half" },
  Complete: { word: "complete", tone: "s-ok", sign: "disc" },
  Succeeded: { word: "succeeded", tone: "s-ok", sign: "disc" },
  Failed: { word: "failed", tone: "s-bad", sign: "cross" },
};

/** Drawn in a box of 12 by 12. */
function shape(sign: string) {
  const line = { fill: "none", stroke: "currentColor", "stroke-width": 1.5 } as const;
  switch (sign) {
    case "ring":
      return <circle cx="6" cy="6" r="4.25" {...line} />;
    case "clock":
      return (
        <g {...line}>
          <circle cx="6" cy="6" r="4.75" />
          <path d="M6 3.2V6l2 1.2" />
        </g>
      );
    case "half":
      return (
        <g class="turning">
          <circle cx="6" cy="6" r="4.75" {...line} />
          <path d="M6 1.5a4.5 4.5 0 0 1 0 9z" fill="currentColor" />
        </g>
      );
    case "disc":
      return <circle cx="6" cy="6" r="5" fill="currentColor" />;
    case "again":
      return (
        <g {...line}>
          <path d="M2 6a4.2 4.2 0 1 0 1.4-3.1" />
          <path d="M3.2.6v2.6h2.6" />
        </g>
      );
    case "cross":
      return <path d="M2 2l8 8m0-8l-8 8" {...line} stroke-width="2.2" />;
    case "pause":
      return <path d="M4 2.5v7m4-7v7" {...line} stroke-width="2" />;
    case "stop":
      return (
        <g {...line}>
          <circle cx="6" cy="6" r="4.75" />
          <path d="M2.8 9.2l6.4-6.4" />
        </g>
      );
    default:
      return <path d="M2 6h8" {...line} stroke-width="2" />;
  }
}

export function look(state: string): Look {
  return LOOKS[state as State] ?? TRAINING[state] ?? { word: state.toLowerCase(), tone: "s-none", sign: "dash" };
}

/** The sign as part of a bigger drawing, its upper left corner at (x, y). */
export function Sign({ state, x, y }: { state: string; x: number; y: number }) {
  const { tone, sign } = look(state);
  return (
    <g class={tone} transform={`translate(${x} ${y})`}>
      {shape(sign)}
    </g>
  );
}

export function Mark({ state, size = 12, label = false }: { state: string; size?: number; label?: boolean }) {
  const { word, tone, sign } = look(state);
  const told = label ? { role: "img" as const, "aria-label": word } : { "aria-hidden": true };
  return (
    <svg class={tone} width={size} height={size} viewBox="0 0 12 12" {...told}>
      {shape(sign)}
    </svg>
  );
}

export function StateWord({ state }: { state: string }) {
  const { word, tone } = look(state);
  return (
    <span class={`state ${tone}`} data-state={state}>
      <Mark state={state} />
      {word}
    </span>
  );
}
