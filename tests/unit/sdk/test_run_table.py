"""The table where pandas is not installed."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import pytest

from mlplatform.sdk.runs import table

ROWS = [
    {"run_id": "a", "created": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "seconds": None, "params.lr": 0.1},
    {"run_id": "b", "name": "<b>", "created": datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC), "seconds": 1.5},
]


def test_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    found = table(ROWS)
    assert [row["run_id"] for row in found] == ["a", "b"]
    lines = repr(found).splitlines()
    assert lines[0].split() == ["run_id", "name", "state", "experiment", "pipeline", "created", "seconds", "params.lr"]
    assert lines[1].split() == ["a", "2026-01-02", "03:04:05+00:00", "0.1"]
    html = found._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<th>params.lr</th>" in html


def test_with_pandas() -> None:
    found = table(ROWS)
    assert list(found["run_id"]) == ["a", "b"]
    assert found["params.lr"].isna().tolist() == [False, True]
