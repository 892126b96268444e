import mlflow

mlflow.start_run()
mlflow.log_metric("a", 1)
mlflow.end_run()
mlflow.log_metric("b", 2)
