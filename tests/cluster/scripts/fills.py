"""Saves at each step; in attempt 1 the third checkpoint is larger than what is left of the disk."""

from mlplatform import training

me = training.init()
last = training.resume_from()
for step in range(last.step + 1 if last else 0, 5):
    training.report(step, total=5)
    with training.checkpoint(step) as folder:
        (folder / "state").write_bytes(b"x" * (800_000 if (me.attempt, step) == (1, 2) else 10_000))
print("kept", sorted(path.name for path in me.checkpoints.iterdir()), flush=True)
