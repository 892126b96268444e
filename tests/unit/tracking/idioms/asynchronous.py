import mlflow

for i in range(5):
    mlflow.log_metric("m", i, step=i, synchronous=False)
