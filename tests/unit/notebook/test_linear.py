"""The linear run, in real kernels."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from mlplatform.notebook.compare import said
from mlplatform.notebook.linear import run_linear
from tests.support.books import book, code, md


def test_it_runs_from_top_to_bottom(tmp_path: Path) -> None:
    notebook = book(
        md("# T"),
        code("n = 1", "parameters"),
        code("m = n + 1\nprint(m)"),
        code("n = 100", "skip"),
        code("1 / 0", "raises-exception"),
        code("import os\nhere = os.getcwd()\nf = lambda: m"),
    )
    ran = run_linear(notebook, tmp_path, {"n": 5})
    assert ran.error is None
    assert said(ran.document["cells"][2])["text"] == "6\n"
    assert said(ran.document["cells"][4])["error"] == "ZeroDivisionError"
    values = {name: pickle.loads(data) for name, data in ran.values.items()}
    assert (values["n"], values["m"], values["here"], values["f"]()) == (5, 6, str(tmp_path), 6)
    assert "os" not in values


@pytest.mark.parametrize("source", ["%no_such_magic", "x = !exit 3"])
def test_what_goes_wrong_is_an_error(source: str, tmp_path: Path) -> None:
    ran = run_linear(book(code("a = 1"), code(source), code("b = 2")), tmp_path)
    assert ran.error is not None
    assert ran.error["cell"] == 1
    assert "a" in ran.values
    assert "b" not in ran.values
