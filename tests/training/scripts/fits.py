"""Two ranks of which rank 0 fits a line, tells MLflow of it and leaves its model there. In attempt 1 it waits at step 8
to be killed; in attempt 2 it tries to say itself how its run ended."""

import os
import time

from mlplatform import training

STEPS, EVERY = 20, 5

me = training.init()
last = training.resume_from()
slope = float((last / "slope").read_text()) if last is not None else 0.0
for step in range(last.step + 1 if last else 0, STEPS):
    while me.attempt == 1 and step == 8 and not training.stopping():
        time.sleep(0.05)
    slope += (3.0 - slope) / 2
    training.report(step, {"loss": (3.0 - slope) ** 2, "rank": me.rank}, total=STEPS)
    if me.first and training.due(step, every=EVERY):
        with training.checkpoint(step) as folder:
            (folder / "slope").write_text(repr(slope))
if me.first:
    import mlflow
    import numpy
    from sklearn.linear_model import LinearRegression

    x = numpy.arange(10.0).reshape(-1, 1)
    model = LinearRegression().fit(x, slope * x[:, 0])
    mlflow.log_param("steps", STEPS)
    mlflow.log_text(f"slope {slope:.3f}", "notes/fit.txt")
    mlflow.sklearn.log_model(
        model, name="line", registered_model_name=os.environ["REGISTERED"], pip_requirements=["scikit-learn"]
    )
    mlflow.end_run("KILLED")
else:
    time.sleep(5)  # long enough for a figure of its machine
