import mlflow

with mlflow.start_run(run_name="my name", tags={"a": "b"}, description="why"):
    mlflow.log_param("p", 1)
