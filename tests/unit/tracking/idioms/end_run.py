import mlflow

mlflow.log_metric("a", 1)
mlflow.end_run()
mlflow.log_metric("b", 2)
mlflow.end_run("FAILED")
result = mlflow.active_run() is None
