import tempfile

import mlflow

d = tempfile.mkdtemp()
with open(d + "/f.txt", "w") as file:
    file.write("hello")
mlflow.log_artifact(d + "/f.txt")
mlflow.log_text("t", "sub/x y.txt")
mlflow.log_dict({"a": 1}, "d.json")
mlflow.log_artifacts(d, "all")
result = mlflow.artifacts.load_text(mlflow.get_artifact_uri("f.txt"))
assert result == "hello"
