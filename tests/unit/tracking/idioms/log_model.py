import mlflow
from sklearn.linear_model import LinearRegression

m = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
info = mlflow.sklearn.log_model(m, name="lin")
loaded = mlflow.sklearn.load_model(info.model_uri)
result = {"prediction": [round(float(v), 6) for v in loaded.predict([[1.0]])], "model_id": info.model_id}
