"""A rank that only its checkpoints remember: a state that each step changes. In attempt 1 it waits at step 13 to be
killed, in attempt 2 at step 20 to be suspended, in attempt 3 at step 26 to be evicted."""

import os
import time

from mlplatform import training

STEPS, EVERY, WAITS = 30, 5, {1: 13, 2: 20, 3: 26}

me = training.init()
state, last = me.rank, training.resume_from()
if last is not None:
    state = int((last / "state").read_text())
trace = open(f"{os.environ['MLP_CHECKPOINT_DIR']}/trace", "a")  # noqa: SIM115 - open as long as the process
for step in range(last.step + 1 if last else 0, STEPS):
    while step == WAITS.get(me.attempt) and not training.stopping():
        time.sleep(0.05)
    state = (31 * state + step) % 1_000_003
    print(f"{me.attempt}:{step}", end=" ", file=trace, flush=True)
    training.report(step, {"state": state}, total=STEPS)
    if training.due(step, every=EVERY):
        with training.checkpoint(step) as folder:
            (folder / "state").write_text(str(state))
trace.close()
with open(trace.name) as file:
    print(
        f"rank {me.rank} of {me.world_size} ({me.framework}, keeps {me.keep}): {file.read()}state {state}", flush=True
    )
