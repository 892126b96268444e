import mlflow

for i in range(3):
    mlflow.log_metrics({"loss": 1.0 / (i + 1), "acc": i / 2}, step=i)
