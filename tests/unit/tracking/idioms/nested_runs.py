import mlflow

with mlflow.start_run():
    with mlflow.start_run(run_name="inner-a", nested=True):
        mlflow.log_metric("deep", 2)
    try:
        with mlflow.start_run(run_name="inner-b", nested=True):
            with mlflow.start_run(run_name="innermost", nested=True):
                pass
            raise ValueError
    except ValueError:
        pass
