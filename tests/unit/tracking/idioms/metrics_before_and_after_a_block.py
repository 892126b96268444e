import mlflow

mlflow.log_metric("before", 1)
with mlflow.start_run():
    mlflow.log_metric("inside", 2)
mlflow.log_metric("after", 3)
