import mlflow

mlflow.log_param("p", 3)
mlflow.log_params({"q": "x"})
