import mlflow
import numpy as np
from sklearn.linear_model import LogisticRegression

mlflow.sklearn.autolog()

LogisticRegression(C=0.5).fit(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1]))
LogisticRegression(C=0.25).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
