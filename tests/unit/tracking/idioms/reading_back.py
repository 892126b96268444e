import os

import mlflow

mlflow.log_param("searched", "yes")
mlflow.log_metric("m", 1)
mlflow.log_metric("m", 2, step=1)
c = mlflow.MlflowClient()
own = os.environ["MLPLATFORM_MLFLOW_RUN_ID"]
found = mlflow.search_runs(filter_string="params.searched = 'yes'")
result = {
    "found": list(found.run_id),
    "history": [m.value for m in c.get_metric_history(own, "m")],
    "get": mlflow.get_run(own).data.params,
}
