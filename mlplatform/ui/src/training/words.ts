/** What the pages of training say the same way. */

import { href } from "../base/router";
import type { Part, Rank } from "../base/training";

export const jobHref = (name: string) => href(["training", "details", name]);

export const rankName = (one: Rank) => `${one.group}-${one.rank}`;

/** Parts of a job's time, in the order in which they are shown, with what they mean. */
export const PARTS: { id: Part; word: string; about: string }[] = [
  { id: "productive", word: "productive", about: "work that is saved, or led to the end" },
  { id: "unsaved", word: "since the checkpoint", about: "work since the last checkpoint" },
  { id: "startup", word: "startup", about: "from places to all ranks at work" },
  { id: "queued", word: "queued", about: "waiting for quota and places" },
  { id: "restart", word: "restarting", about: "stopping ranks and waiting to start again" },
  { id: "lost", word: "lost", about: "work that was done again" },
];

const ACTIONS: Record<string, string> = {
  Fail: "the job failed",
  Restart: "restarted",
  RestartUncounted: "restarted, not counted",
  RestartAvoidNode: "restarted away from the node",
};

export const actionWord = (action: string) => ACTIONS[action] ?? action;
