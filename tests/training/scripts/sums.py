"""What training is to the platform, without its mathematics: a state that each step changes, saved now and then."""

import argparse
import json
import sys
import time
from pathlib import Path

from mlplatform import training

options = argparse.ArgumentParser()
options.add_argument("--out", type=Path, required=True)
options.add_argument("--steps", type=int, default=30)
options.add_argument("--every", type=int, default=5)
options.add_argument("--pause", type=float, default=0.02)
options.add_argument("--each", action="store_true", help="every rank saves")
options.add_argument("--hang-at", type=int, default=-1)
options.add_argument("--wait-at", type=int, default=-1)
args = options.parse_args()


def step_done(state: int, step: int) -> int:
    return (31 * state + step) % 1_000_003


def stuck_in_a_collective() -> None:
    while True:
        time.sleep(60)


me = training.init()
state, last = me.rank, training.resume_from()
if last is not None:
    state = json.loads(
        (last / f"state-{me.rank}" if (last / f"state-{me.rank}").exists() else last / "state").read_text()
    )
    if not args.each:
        state += me.rank
begin = last.step + 1 if last else 0
print(f"rank {me.rank} of {me.world_size}, attempt {me.attempt}, from step {begin}", flush=True)
trace = (args.out / f"steps-{me.rank}").open("a", buffering=1)
for step in range(begin, args.steps):
    if step == args.hang_at and me.rank == 1 and me.attempt == 1:
        stuck_in_a_collective()
    while step == args.wait_at and not (args.out / "go").exists() and not training.stopping():
        time.sleep(0.01)
    state = step_done(state, step)
    trace.write(f"{me.attempt} {step} {time.time()}\n")
    training.report(step, {"state": state}, total=args.steps)
    if (args.each or me.first) and training.due(step, every=args.every):
        with training.checkpoint(step) as folder:
            name = f"state-{me.rank}" if args.each else "state"
            (folder / name).write_text(json.dumps(state - (0 if args.each else me.rank)))
    time.sleep(args.pause)
(args.out / f"final-{me.rank}").write_text(str(state))
sys.exit(0)
