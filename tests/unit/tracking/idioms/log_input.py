import mlflow
import pandas as pd

mlflow.log_input(mlflow.data.from_pandas(pd.DataFrame({"a": [1]}), name="frame"), context="training")
