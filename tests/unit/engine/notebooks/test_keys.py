"""What of a cell's text counts."""

from __future__ import annotations

import pytest

from mlplatform.engine.notebooks.keys import looks_at_text, normalised, task_key, uses_history
from mlplatform.planning.notebook_component import CellSource, NotebookTask


def task(*cells: str) -> NotebookTask:
    return NotebookTask("t", 0, tuple(CellSource(i, cell) for i, cell in enumerate(cells)))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x=1", "x  =  1  # why", True),
        ("def f():\n    '''Doc.'''\n    return 1", "def f():\n    return (1)", True),
        ("x = 1", "x = 2", False),
        ("x", "x;", False),  # the semicolon hides its value
        ("'a text'", "'another text'", False),  # it is shown
        ("%matplotlib inline\nx=1", "%matplotlib inline\nx = 1  # plot", True),
        ("%matplotlib inline", "%matplotlib agg", False),
        ("%%bash\necho a", "%%bash\necho a # b", False),
        ("!ls a", "!ls b", False),
        ("this is no python", "this  is no python", False),
    ],
)
def test_normalised(one: str, other: str, same: bool) -> None:
    assert (normalised(one) == normalised(other)) is same


def test_a_notebook_that_looks_at_its_text_is_taken_literally() -> None:
    assert looks_at_text([task("print(f.__doc__)")])
    assert looks_at_text([task("import inspect")])
    assert looks_at_text([task("f?")])
    assert not looks_at_text([task("x = 1")])


def test_history() -> None:
    assert uses_history([task("y = _ + 1")])
    assert uses_history([task("x = Out[3]")])
    assert not uses_history([task("_, ax = plt.subplots()")])
    assert not uses_history([task("for _ in range(3):\n    print(_)")])


def test_key() -> None:
    def key(made: NotebookTask, values: dict[str, int] | None = None, folder: str = "/a") -> str:
        return task_key(made, values or {}, exact=False, history=False, surroundings={"folder": folder})

    assert key(task("x = 1")) == key(task("x=1", "  "))
    assert (
        len({key(task("x = 1")), key(task("x = 2")), key(task("x = 1"), {"x": 3}), key(task("x = 1"), folder="/b")})
        == 4
    )
