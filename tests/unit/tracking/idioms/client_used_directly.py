import os

import mlflow

c = mlflow.MlflowClient()
e = c.get_experiment_by_name(os.environ["MLFLOW_EXPERIMENT_NAME"]).experiment_id
one = c.create_run(e)
c.log_metric(one.info.run_id, "m", 1)
c.set_terminated(one.info.run_id)
two = c.create_run(e)
c.log_param(two.info.run_id, "p", 2)
c.set_terminated(two.info.run_id, "KILLED")
result = {"same": one.info.run_id == os.environ["MLPLATFORM_MLFLOW_RUN_ID"], "second": two.info.run_id}
