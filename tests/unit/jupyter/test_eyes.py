"""Executed and not saved: told; saved since, or only ours: not."""

from __future__ import annotations

import pytest

from mlplatform.jupyter.eyes import Executed, only_ours, unsaved

FILE = ["import math\nx = 1", "y = x + 1\nprint(y)"]


@pytest.mark.parametrize(
    ("inputs", "numbers"),
    [
        ([], []),
        ([(1, FILE[0], 50.0), (2, FILE[1] + "  \n", 60.0)], []),  # blanks at line ends are nothing
        ([(1, "y = x + 2\nprint(y)", 50.0)], []),  # run before the save: an older version of what is saved now
        ([(1, "y = x + 2\nprint(y)", 150.0)], [1]),
        ([(1, "z = 3", 150.0), (2, FILE[0], 160.0)], [1]),
        ([(1, "%load_ext mlplatform\n%mlplatform run -p x=2", 150.0)], []),
    ],
)
def test_what_was_executed_since_the_save(inputs: list[tuple[int, str, float]], numbers: list[int]) -> None:
    found = unsaved([Executed(*entry) for entry in inputs], FILE, 100.0)
    assert [entry.number for entry in found] == numbers


def test_the_difference_is_that_from_the_cell_it_was() -> None:
    (found,) = unsaved([Executed(7, "y = x + 2\nprint(y)", 150.0)], FILE, 100.0)
    lines = str(found).splitlines()
    assert lines[0] == "In [7] is not in the saved file:"
    assert "  -y = x + 1" in lines
    assert "  +y = x + 2" in lines
    (new,) = unsaved([Executed(8, "\n".join(f"completely_{n}()" for n in range(30)), 150.0)], FILE, 100.0)
    assert "  + completely_0()" in str(new)
    assert str(new).endswith("... and 18 more lines")


def test_only_ours() -> None:
    assert only_ours("# words\n%mlplatform run\n")
    assert not only_ours("%mlplatform run\nx = 1")
    assert not only_ours("%matplotlib inline")
