"""Annotations: what they mean for pipelines, and what type checkers make of them."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from typing import Any, Literal, Optional, Union

import pandas as pd
import pytest

from mlplatform import dsl
from mlplatform.core.values import ParameterType
from mlplatform.sdk.define.types import artifact_type, marks, parameter_type, path_mark, type_of_value

P = ParameterType
TYPED = pathlib.Path(__file__).with_name("typed.py")


@pytest.mark.parametrize(
    ("annotation", "wanted"),
    [
        (int, P.NUMBER_INTEGER),
        (float, P.NUMBER_DOUBLE),
        (bool, P.BOOLEAN),
        (str, P.STRING),
        (list, P.LIST),
        (dict, P.STRUCT),
        (list[int], P.LIST),
        (dict[str, Any], P.STRUCT),
        (Optional[int], P.NUMBER_INTEGER),  # noqa: UP045
        (int | None, P.NUMBER_INTEGER),
        (Union[int, float], P.NUMBER_DOUBLE),  # noqa: UP007
        (Literal["a", "b"], P.STRING),
        (list[pd.DataFrame], None),
        (dict[int, str], None),
        (pd.DataFrame, None),
        (Any, None),
        (pathlib.Path, None),
        (set, None),
    ],
)
def test_parameters(annotation: Any, wanted: ParameterType | None) -> None:
    found = parameter_type(annotation)
    assert (found.parameter if found else None) == wanted


def test_items_of_lists_and_dicts_are_known() -> None:
    found = parameter_type(list[dict[str, int]])
    assert found is not None
    assert found.item is not None
    assert found.item.parameter is P.STRUCT
    assert found.item.entry is not None
    assert found.item.entry.parameter is P.NUMBER_INTEGER


def test_artifacts_and_their_marks() -> None:
    mark, inner = marks(dsl.Input[dsl.Dataset])
    assert (mark, inner) == ("input", dsl.Dataset)
    assert marks(dsl.Output[dsl.Model])[0] == "output"
    several = artifact_type(list[dsl.Model])
    assert several is not None
    assert (several.artifact.schema_title, several.is_list) == ("system.Model", True)
    assert path_mark(dsl.OutputPath("Dataset")) == ("output", "Dataset")
    assert artifact_type(pd.DataFrame) is None


def test_kfps_own_marks_are_known() -> None:
    kfp: Any = pytest.importorskip("kfp.dsl")
    assert marks(kfp.Input[kfp.Dataset]) == ("input", kfp.Dataset)
    assert artifact_type(kfp.Dataset) == artifact_type(dsl.Dataset)


def test_types_of_constants() -> None:
    kinds = [type_of_value(value) for value in (True, 1, 1.5, "a", [1], {"a": 1}, None, object())]
    assert [kind.parameter if kind else None for kind in kinds] == [
        P.BOOLEAN, P.NUMBER_INTEGER, P.NUMBER_DOUBLE, P.STRING, P.LIST, P.STRUCT, None, None,
    ]  # fmt: skip


def test_editors_know_the_types() -> None:
    """``assert_type`` under pyright: parameters and results keep their types through the decorators."""
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(TYPED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TYPED.parents[4])
    assert done.returncode == 0, done.stdout + done.stderr
