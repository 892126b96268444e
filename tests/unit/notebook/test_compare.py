"""Values and outputs: what counts as the same."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlplatform.notebook.compare import difference, masked, said, same_pickles, same_text


class Thing:
    def __init__(self, **values: Any) -> None:
        vars(self).update(values)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1),
        (0.1 + 0.2, 0.3),
        (float("nan"), float("nan")),
        ([1, (2.0, "a")], [1, (2.0 + 1e-9, "a")]),
        ({"a": 1}, {"a": 1}),
        ({3, 1}, {1, 3}),
        (np.array([1.0, np.nan]), np.array([1.0 + 1e-9, np.nan])),
        (np.array(["a"], object), np.array(["a"], object)),
        (pd.DataFrame({"a": [0.1 + 0.2]}), pd.DataFrame({"a": [0.3]})),
        (Thing(a=[1]), Thing(a=[1])),
        (len, len),
    ],
)
def test_the_same(one: Any, other: Any) -> None:
    assert difference(one, other) == ""


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (1, 2, "1 is not 2"),
        (1, 1.0, "int is not float"),
        (True, 1, "bool is not int"),
        (0.1, 0.2, "0.1 is not 0.2"),
        ([1, [2]], [1, [3]], "[1]: [0]: 2 is not 3"),
        ([1], [1, 2], "1 items are not 2"),
        ({"a": 1}, {"b": 1}, "the keys are different"),
        ({"a": 1}, {"a": 2}, "['a']: 1 is not 2"),
        ({1}, {2}, "the sets hold different things"),
        (np.zeros(2), np.zeros(3), "shape (2,)"),
        (np.zeros(2), np.ones(2), "different numbers"),
        (np.array([1]), np.array([2]), "different numbers"),
        (pd.Series([1, 2]), pd.Series([1, 3]), "2 is not 3"),
        (Thing(a=1), Thing(a=2), ".a: 1 is not 2"),
        ("a" * 100, "b", "..."),
    ],
)
def test_different(one: Any, other: Any, words: str) -> None:
    assert words in difference(one, other)


def test_pickles_that_cannot_be_loaded_are_not_different() -> None:
    assert same_pickles(b"\x80\x05cnope\nNope\n.", pickle.dumps(1)) == ""
    assert same_pickles(pickle.dumps(1), pickle.dumps(2)) == "1 is not 2"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("<f at 0x7f00aa11>", "<f at 0x7f99bb22>", True),
        ("took 1.25 s", "took 3 s", True),
        ("at 2024-01-01 10:00:00", "at 2025-02-03 11:22:33", True),
        ("in /tmp/abc/x.csv", "in /tmp/def/x.csv", True),
        ("0.30000000001", "0.3", True),
        ("\x1b[31mred\x1b[0m", "red", True),
        ("score 0.91", "score 0.92", False),
        ("a b", "a c", False),
        ("1 2", "1", False),
    ],
)
def test_texts(one: str, other: str, same: bool) -> None:
    assert same_text(one, other) is same


def test_what_a_cell_says() -> None:
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["a\n", "b\n"]},
        {"output_type": "stream", "name": "stderr", "text": "noise"},
        {"output_type": "display_data", "data": {"image/png": "x", "text/plain": "<Figure>"}},
        {"output_type": "execute_result", "data": {"text/plain": "42", "text/html": "<b>42</b>"}},
        {"output_type": "error", "ename": "ValueError"},
    ]
    assert said({"outputs": outputs}) == {"text": "a\nb\n42\n", "images": ["image/png"], "error": "ValueError"}
    assert said({}) == {"text": "", "images": [], "error": ""}


def test_masks_keep_what_matters() -> None:
    assert masked("3 items, 5 apples") == "3 items, 5 apples"
