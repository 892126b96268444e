"""Whether values come back as they were."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlplatform.launcher.notebook.keeping import keep, load
from mlplatform.launcher.notebook.roundtrip import difference, failures, needs_check


class Own:
    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)


Own.__module__ = "__main__"


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a: int) -> None:
        self.a = a


Slotted.__module__ = "__main__"


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [
        (1, 1, ""),
        (float("nan"), float("nan"), ""),
        ([1, {"a": (2,)}], [1, {"a": (2,)}], ""),
        ([1, {"a": (2,)}], [1, {"a": (3,)}], "x[1]['a'][0]"),
        ({"a": 1}, {}, "x"),
        (1, 1.0, "x"),
        (Own(a=[1]), Own(a=[1]), ""),
        (Own(a=[1]), Own(a=[2]), "x.a[0]"),
        (Own(a=1), Own(), "x.a"),
        (Slotted(1), Slotted(2), "x.a"),
        (np.array([1, 2]), np.array([1, 2]), ""),
        (np.array([1, 2]), np.array([1, 3]), "x"),
        (np.array([1, 2]), np.array([1.0, 2.0]), "x"),
    ],
)
def test_difference(one: Any, other: Any, place: str) -> None:
    assert difference(one, other, "x") == place


def test_cycles_come_to_an_end() -> None:
    one, other = Own(), Own()
    one.me, other.me = [one], [other]  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
    assert difference(one, other, "x") == ""


def test_which_types_are_loaded_again() -> None:
    assert not needs_check([list, np.ndarray, type(None)])
    assert needs_check([list, Own])


class Ends:
    def __reduce__(self) -> Any:
        return (os._exit, (7,))


class Breaks:
    def __reduce__(self) -> Any:
        return (int, ("no number",))


def test_failures_tells_each_and_survives_what_ends_the_process(tmp_path: Path) -> None:
    values = {"good": Own, "ends": Ends(), "breaks": Breaks(), "last": [1]}
    pending: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, value in values.items():
        path = tmp_path / name
        with path.open("wb") as file:
            keep({name: value}, {}, file, frozenset())
        pending[name] = str(path), {name: value}
    found = failures(pending, load)
    assert sorted(found) == ["breaks", "ends"]
    assert found["ends"] == "loading it again ends the process, or does not end"
    assert found["breaks"].startswith("it cannot be loaded again: ValueError")
