import mlflow

with mlflow.start_run():
    import mlflow
    from sklearn.linear_model import LogisticRegression

    mlflow.sklearn.autolog()
    import numpy as np

    LogisticRegression(C=0.5).fit(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1]))
