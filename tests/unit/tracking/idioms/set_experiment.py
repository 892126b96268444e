import mlflow

e = mlflow.set_experiment("elsewhere")
assert e.name == "elsewhere"
mlflow.log_metric("a", 1)
with mlflow.start_run():
    mlflow.log_metric("b", 2)
