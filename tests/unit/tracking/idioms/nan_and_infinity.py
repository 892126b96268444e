import mlflow

mlflow.log_metric("n", float("nan"))
mlflow.log_metric("i", float("inf"))
