import mlflow

mlflow.set_tags({"team": "a"})
mlflow.set_tag("k", "v")
