import mlflow


@mlflow.trace
def f(x):
    return x + 1


f(1)
mlflow.flush_trace_async_logging()
mlflow.log_metric("m", 1)
result = mlflow.get_last_active_trace_id()
