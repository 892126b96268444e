"""Percent scripts, also against jupytext itself, which writes them."""

from __future__ import annotations

from typing import Any

import pytest

from mlplatform.notebook import percent

SCRIPT = '''#!/usr/bin/env python
# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Title
#
# Some *text*.

# %% tags=["parameters"]
n = 3

# %% Second cell, with a title
# %matplotlib inline
# !echo {n}
x = 1

# %% [markdown]
"""
## In quotes
"""

# %%
# %%bash
# echo hello

# %% [raw]
# raw text
'''


def test_cells() -> None:
    notebook = percent.read(SCRIPT, "/somewhere/train.py")
    assert notebook.name == "train"
    assert [(cell.kind, cell.source, cell.tags) for cell in notebook.cells] == [
        ("markdown", "# Title\n\nSome *text*.", ()),
        ("code", "n = 3", ("parameters",)),
        ("code", "%matplotlib inline\n!echo {n}\nx = 1", ()),
        ("markdown", "## In quotes", ()),
        ("code", "%%bash\necho hello", ()),
        ("raw", "raw text", ()),
    ]
    assert [cell["cell_type"] for cell in notebook.document["cells"]] == [cell.kind for cell in notebook.cells]


def test_code_before_the_first_mark_is_a_cell() -> None:
    assert [cell.source for cell in percent.read("import os\n\n# %%\nx = 1\n").cells] == ["import os", "x = 1"]


def test_ids_stay_when_other_cells_change() -> None:
    one = percent.read("# %%\na = 1\n\n# %%\nb = 2\n").document["cells"]
    two = percent.read("# %%\na = 1\n\n# %%\nb = 3\n").document["cells"]
    assert (one[0]["id"], one[1]["id"]) != (one[1]["id"], one[0]["id"])
    assert one[0]["id"] == two[0]["id"]
    assert one[1]["id"] != two[1]["id"]


@pytest.mark.parametrize(
    "source",
    [
        "x = 1",
        "%matplotlib inline\nimport os",
        "!ls -l",
        "%%time\nx = sum(range(3))",
        "# a comment\nx = 1\n\n\ny = 2",
        "def f():\n    return 1",
        "x = !echo hi",
    ],
)
def test_what_jupytext_writes_comes_back(source: str) -> None:
    jupytext: Any = pytest.importorskip("jupytext")
    nbformat: Any = pytest.importorskip("nbformat")
    made = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("## A\n\n- b"),
            nbformat.v4.new_code_cell(source, metadata={"tags": ["step:a"]}),
            nbformat.v4.new_code_cell("last = 1"),
        ]
    )
    cells = percent.read(jupytext.writes(made, "py:percent")).cells
    assert [(cell.kind, cell.source) for cell in cells] == [
        ("markdown", "## A\n\n- b"),
        ("code", source),
        ("code", "last = 1"),
    ]
    assert cells[1].tags == ("step:a",)
