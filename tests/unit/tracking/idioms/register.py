import mlflow
from sklearn.linear_model import LinearRegression

m = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
info = mlflow.sklearn.log_model(m, name="lin", registered_model_name="idiom-model")
mlflow.MlflowClient().set_registered_model_alias("idiom-model", "champion", info.registered_model_version)
result = info.registered_model_version
