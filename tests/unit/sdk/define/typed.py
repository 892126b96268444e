# pyright: reportMissingTypeStubs=false
"""Checked by pyright, not run: what people's editors know of components and pipelines."""

from typing import NamedTuple, assert_type

import pandas as pd

import mlplatform as ml
from mlplatform.sdk.define.components import PythonComponent
from mlplatform.sdk.define.pipelines import Pipeline
from mlplatform.sdk.define.tasks import Task
from mlplatform.sdk.run import Run


class Parts(NamedTuple):
    train: pd.DataFrame
    test: pd.DataFrame


@ml.component
def load(rows: int, name: str = "x") -> pd.DataFrame: ...


@ml.component(retries=2, gpus=1)
def score(frame: pd.DataFrame) -> float: ...


@ml.component
def split(frame: pd.DataFrame) -> Parts: ...


@ml.pipeline
def pipeline(rows: int) -> float:
    frame = load(rows)
    assert_type(frame, pd.DataFrame)
    parts = split(frame)
    assert_type(parts.train, pd.DataFrame)
    assert_type(score.map([frame, frame]), list[float])
    assert_type(ml.task(frame).after(ml.task(parts)), Task)
    return score(parts.test)


@ml.pipeline(name="named")
def named(rows: int = 3) -> float:
    return pipeline(rows)


assert_type(score(load(3)), float)
assert_type(load.options(retries=3)(rows=3, name="y"), pd.DataFrame)
assert_type(pipeline.run(3), Run)
assert_type(pipeline.run(rows=3), Run)
assert_type(named.options(cache=False).run(), Run)
reveal: PythonComponent[[pd.DataFrame], float] = score
other: Pipeline[[int], float] = pipeline

load("three")  # pyright: ignore[reportArgumentType]
load(rows=3, nmae="y")  # pyright: ignore[reportCallIssue]
pipeline.run(row=3)  # pyright: ignore[reportCallIssue]
score.options(retires=3)  # pyright: ignore[reportCallIssue]
