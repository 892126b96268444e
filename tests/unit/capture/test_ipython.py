"""Capture inside a real kernel: its file names, cell numbers, magics and classes of ``__main__``."""

from __future__ import annotations

import json

import pytest

CELLS = [
    "import math\nfrom dataclasses import dataclass",
    "@dataclass\nclass Point:\n    x: int\n    y: int = 2",
    "class Empty:\n    size = 3",
    "def helper(p):\n    return math.hypot(p.x, p.y)",
    "%matplotlib inline\nk = 2",
    "f = lambda p: helper(p) * k",
    "async def g(): return Empty.size",
    "def helper(p):\n    return p.x",
    """
from mlplatform.capture import capture
import json, types
def told(function, *arguments):
    captured = capture(function)
    module = types.ModuleType("elsewhere")
    import sys
    sys.modules["elsewhere"] = module
    exec(captured.source, module.__dict__)
    return [dict(captured.places), captured.name, captured.source]
print(json.dumps([told(f), told(g), told(lambda: display(Point(1)))]))
""",
]


@pytest.fixture(scope="module")
def answer() -> list:
    import nbformat
    from nbclient import NotebookClient

    cells = [nbformat.v4.new_code_cell(text) for text in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return json.loads(notebook.cells[-1].outputs[0].text)


def test_cells_are_found_and_numbered(answer: list) -> None:
    places, name, source = answer[0]
    assert name == "f"
    assert places["function <lambda>"] == "cell 6"
    assert places["helper helper"] == "cell 8", "the later definition counts"
    assert "hypot" not in source
    assert 'line 1 "Cell In[8]"' in source


def test_a_class_without_methods_is_found(answer: list) -> None:
    places, name, _ = answer[1]
    assert name == "g"
    assert places["class Empty"] == "cell 3"


def test_what_ipython_adds_is_imported(answer: list) -> None:
    places, _, source = answer[2]
    assert places["class Point"] == "cell 2"
    assert "from IPython.display import display" in source or "import display" in source
