import mlflow

mlflow.log_metric("m", 1.5)
