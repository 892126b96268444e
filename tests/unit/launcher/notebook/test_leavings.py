"""What tasks leave inside libraries."""

from __future__ import annotations

import itertools
import sys
import types
import warnings
from typing import Any

import pytest

from mlplatform.launcher.notebook.leavings import marks, met


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    made: Any = types.ModuleType("somelibrary")
    made.number = 0
    made.names = itertools.count()
    made.Chart = type("Chart", (), {"_n": 1, "__module__": "somelibrary"})
    exec("import warnings\ndef say():\n    warnings.warn('again', stacklevel=1)\n", vars(made))
    monkeypatch.setitem(sys.modules, "somelibrary", made)
    return made


def test_counters_that_moved_and_warnings_that_were_given(library: Any) -> None:
    before = marks()
    assert met(before, marks()) == []
    library.number += 1
    next(library.names)
    library.Chart._n = 5
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        library.say()
    found = [place for place in met(before, marks()) if "somelibrary" in place]
    assert found[:3] == [
        "counter somelibrary:Chart._n",
        "counter somelibrary:names",
        "counter somelibrary:number",
    ]
    assert found[3].startswith("warning somelibrary ")
    assert len(found) == 4


def test_what_came_with_an_import_was_nobodys(library: Any) -> None:
    after = marks()
    before = {key: value for key, value in after.items() if "somelibrary" not in key}
    assert met(before, after) == []
