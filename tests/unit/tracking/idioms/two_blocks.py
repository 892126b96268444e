import mlflow

with mlflow.start_run():
    mlflow.log_metric("one", 1)
with mlflow.start_run(run_name="second"):
    mlflow.log_metric("two", 2)
mlflow.log_metric("after", 3)
