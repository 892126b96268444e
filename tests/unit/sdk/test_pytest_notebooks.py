"""``pytest --mlplatform-notebooks`` on notebooks that are right and on some that are not, in one session."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.books import code, document, md


def shown(text: str) -> list[dict[str, Any]]:
    return [{"output_type": "stream", "name": "stdout", "text": text}]


#: name -> (cells, what pytest says of it; "" for a notebook that is right)
BOOKS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "right": (
        [
            md("## Make"),
            code("xs = [1]\nys = xs\nn = open('here.txt', 'a').write('x')"),
            md("## Use"),
            code("ys.append(len(open('here.txt').read()))\nprint(xs)") | {"outputs": shown("[1, 1]\n")},
        ],
        "",
    ),
    "by-chance": ([md("## A"), code("import random\nx = random.random()"), md("## B"), code("print(x)")], ""),
    "ignored-error": ([code("# NBVAL_IGNORE_OUTPUT\n1 / 0")], "cell 0 fails: ZeroDivisionError"),
    "unknown-magic": ([code("%no_such_magic")], "cell 0 fails: UsageError"),
    "missing-output": (
        [code("if False:\n    print(1)") | {"outputs": shown("1\n")}],
        "cell 0: the file shows an output, and running it gives none",
    ),
    "tells-them-apart": (
        [code("import sys\ninside = 'ipykernel' in sys.modules\nprint(inside)")],
        "variable inside differs: True is not False",
    ),
    "broken": ([], "is not a notebook"),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("books")
    for name, (cells, _) in BOOKS.items():
        place = folder / name
        place.mkdir()
        text = json.dumps(document(*cells)) if cells else "{"
        (place / f"{name}.ipynb").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder)]
    command += ["-p", "mlplatform.sdk.pytest_notebooks"] if not _installed() else []
    command += ["--mlplatform-notebooks", "-q", "-rA", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    return done.stdout + done.stderr


def _installed() -> bool:
    from importlib.metadata import entry_points

    return "mlplatform_notebooks" in {entry.name for entry in entry_points(group="pytest11")}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOOKS)
def test_a_notebook(name: str, told: str) -> None:
    words = BOOKS[name][1]
    verdict = re.search(rf"^(PASSED|FAILED|ERROR) \S*{name}\.ipynb", told, re.MULTILINE)
    assert verdict is not None, told[-4000:]
    assert verdict[1] == ("FAILED" if words else "PASSED"), told[-4000:]
    assert words in told


@pytest.mark.slow
def test_runs_leave_nothing_beside_the_notebooks(told: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    places = Path(tmp_path_factory.getbasetemp()).glob("books0/right/*")
    assert [place.name for place in places] == ["right.ipynb"]


def test_without_the_option_nothing_is_collected(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_text(json.dumps(document(code("1"))), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(tmp_path), "--collect-only"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "no tests" in done.stdout
