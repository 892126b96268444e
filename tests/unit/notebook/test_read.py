"""Reading notebooks: what is one is read, what is none is refused with its place and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.errors import InvalidPipeline, NotFound, Unsupported
from mlplatform.notebook.read import is_notebook, loads, read_notebook
from tests.support.books import code, document, md


def test_cells_keep_their_places_and_tags(tmp_path: Path) -> None:
    file = tmp_path / "My train.ipynb"
    file.write_text(json.dumps(document(md("# T"), code("a = 1", "parameters"), code(""))), encoding="utf-8")
    notebook = read_notebook(str(file))
    assert (notebook.name, notebook.path) == ("My train", str(file))
    assert [(cell.index, cell.kind, cell.tags) for cell in notebook.cells] == [
        (0, "markdown", ()),
        (1, "code", ("parameters",)),
        (2, "code", ()),
    ]
    assert [cell.runs for cell in notebook.cells] == [False, True, False]


@pytest.mark.parametrize("tag", ["skip", "skip-execution"])
def test_skipped_cells_do_not_run(tag: str) -> None:
    assert [cell.runs for cell in loads(json.dumps(document(code("a", tag), code("b")))).cells] == [False, True]


def test_lines_and_texts_are_the_same_source() -> None:
    lines = document(code("a = 1\nb = 2"))
    lines["cells"][0]["source"] = ["a = 1\n", "b = 2"]
    assert loads(json.dumps(lines)).cells[0].source == "a = 1\nb = 2"


def test_a_byte_order_mark_is_no_part_of_it() -> None:
    assert loads(b"\xef\xbb\xbf" + json.dumps(document(code("é"))).encode()).cells[0].source == "é"


def test_nbformat_3_is_converted() -> None:
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": "old"},
        "worksheets": [
            {
                "metadata": {},
                "cells": [
                    {"cell_type": "heading", "level": 2, "metadata": {}, "source": ["Load"]},
                    {
                        "cell_type": "code",
                        "collapsed": False,
                        "input": ["x = 1"],
                        "language": "python",
                        "metadata": {},
                        "outputs": [],
                        "prompt_number": 1,
                    },
                ],
            }
        ],
    }
    notebook = loads(json.dumps(old))
    assert [(cell.kind, cell.source) for cell in notebook.cells] == [("markdown", "## Load"), ("code", "x = 1")]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"{", "its JSON is broken at line 1"),
        (b'{"cells": [],\n  oops}', "at line 2, column 3"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
        (b"[]", "not an object with cells"),
        (b'{"cells": []}', "it has no nbformat number"),
        (b'{"pipelineInfo": {}}', "Compiled pipelines are .yaml"),
        (b'{"nbformat": 4}', "cells: must be a list of cells"),
        (b"<<<<<<< HEAD\n{}\n>>>>>>> x", "merge conflict"),
        (("[" * 200_000).encode(), "nested too deeply"),
    ],
)
def test_what_is_no_notebook_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(InvalidPipeline) as caught:
        loads(data, "broken.ipynb")
    assert words in str(caught.value)
    assert "broken.ipynb" in str(caught.value)


def test_every_finding_is_told_at_once() -> None:
    cells: list[Any] = [
        {"cell_type": "slide", "source": "", "metadata": {}},
        {"cell_type": "code", "source": 3, "metadata": {"tags": "skip"}},
        "text",
    ]
    with pytest.raises(InvalidPipeline) as caught:
        loads(json.dumps({"nbformat": 4, "metadata": [], "cells": cells}), "n.ipynb")
    assert [finding.path for finding in caught.value.findings] == [
        "metadata",
        "cells[0].cell_type",
        "cells[1].source",
        "cells[1].metadata.tags",
        "cells[2]",
    ]


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        ({"language_info": {"name": "julia"}}, "julia"),
        ({"kernelspec": {"name": "ir", "language": "R"}}, "r"),
    ],
)
def test_another_language_is_refused(metadata: dict[str, Any], language: str) -> None:
    with pytest.raises(Unsupported, match=f"is written in {language}: notebooks run as pipelines in Python only"):
        loads(json.dumps(document(code("1"), **metadata)), "n.ipynb")


@pytest.mark.parametrize(
    "metadata", [{}, {"language_info": {"name": "python"}}, {"kernelspec": {"language": "Python"}}]
)
def test_python_is_python(metadata: dict[str, Any]) -> None:
    assert loads(json.dumps(document(code("1"), **metadata))).language == "python"


def test_a_newer_format_is_told() -> None:
    with pytest.raises(Unsupported, match="notebook format 5"):
        loads('{"nbformat": 5}', "n.ipynb")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="No such file"):
        read_notebook(str(tmp_path / "none.ipynb"))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.ipynb", "", True),
        ("a.py", "# %%\nx = 1\n", True),
        ("a.py", "x = 1\n", False),
        ("a.py", "# %%\nfrom kfp import dsl\n@dsl.pipeline\ndef p(): ...\n", False),
        ("a.yaml", "# %%\n", False),
    ],
)
def test_what_is_read_as_a_notebook(tmp_path: Path, name: str, text: str, expected: bool) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    assert is_notebook(str(file)) is expected
