"""The SDK: ordinary functions on ordinary objects. Three models of wine are fitted side by side, the best is kept.

Data: scikit-learn's wine set (178 wines, 13 measurements, three growers).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

import mlplatform as ml
from mlplatform import dsl

TARGET = "target"


class Parts(NamedTuple):
    train: pd.DataFrame
    test: pd.DataFrame


def features(frame: pd.DataFrame) -> pd.DataFrame:
    """Measurements on one scale."""
    values = frame.drop(columns=TARGET)
    return (values - values.mean()) / values.std()


@ml.component
def load() -> pd.DataFrame:
    from sklearn.datasets import load_wine

    return load_wine(as_frame=True).frame


@ml.component
def split(frame: pd.DataFrame, share: float, seed: int) -> Parts:
    order = np.random.default_rng(seed).permutation(len(frame))
    cut = int(len(frame) * share)
    return Parts(frame.iloc[order[:cut]], frame.iloc[order[cut:]])


@ml.component
def fit(strength: float, train: pd.DataFrame):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=500).fit(features(train), train[TARGET])


@ml.component
def choose(models: list, test: pd.DataFrame) -> dict:
    """The strength and accuracy of the best model."""
    scores = [float(model.score(features(test), test[TARGET])) for model in models]
    best = int(np.argmax(scores))
    return {"strength": models[best].C, "accuracy": round(scores[best], 4)}


@ml.component
def accuracy(chosen: dict) -> float:
    return chosen["accuracy"]


@ml.component
def note(text: str) -> str:
    print(text)
    return text


@ml.pipeline(name="wine-sdk")
def wine(strengths: list[float] = [0.01, 0.1, 1.0], share: float = 0.7, seed: int = 0):  # noqa: B006
    """Which strength of regularisation tells growers of wine apart best?"""
    parts = split(load(), share, seed)
    chosen = choose(fit.map(strengths, train=parts.train), parts.test)
    found = accuracy(chosen)
    with dsl.If(found > 0.9):
        good = note("good enough to taste")
    with dsl.Else():
        bad = note("measure again")
    return {"chosen": chosen, "accuracy": found, "verdict": dsl.OneOf(good, bad)}
