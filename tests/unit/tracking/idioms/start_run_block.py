import mlflow

with mlflow.start_run() as r:
    mlflow.log_metric("m", 1)
result = r.info.run_id
