"""What two values of a notebook share, and what only looks like it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from mlplatform.launcher.notebook.comparing import look


def shared(one: object, other: object) -> set[int]:
    seen = look(one, {}), look(other, {})  # both alive, or ids would be used twice
    return seen[0].shared & seen[1].shared


def test_tables_that_know_nothing_of_each_other_share_nothing() -> None:
    """Functions of compiled modules and lists of library classes are in every table's state."""
    one = pd.DataFrame({"a": [1.5, 2.5], "b": ["x", "y"]})
    other = pd.DataFrame({"c": [3, 4], "d": pd.to_datetime(["2024-01-01", "2024-01-02"])})
    assert shared(one, other) == set()
    assert shared(one, pd.Series([1, 2], name="s")) == set()


def test_one_table_under_two_names_is_shared() -> None:
    one = pd.DataFrame({"a": [1]})
    assert shared({"x": one}, [one])


def test_one_list_in_two_objects_of_a_class_is_shared() -> None:
    log: list[int] = []
    assert id(log) in shared({"log": log}, (log, 1))


def test_a_class_made_in_a_function_keeps_its_name(tmp_path: Path) -> None:
    from mlplatform.launcher.notebook.keeping import keep, load

    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("def make():\n    class Box: pass\n    return Box\nbox = make()()", namespace)
    with (tmp_path / "group").open("wb") as file:
        keep({"box": namespace["box"]}, namespace, file, frozenset())
    found = load(str(tmp_path / "group"))
    assert type(found["box"]).__qualname__ == "make.<locals>.Box"
