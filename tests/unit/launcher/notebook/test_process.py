"""Settings of the process and what a notebook registers: found, taken back, and brought again."""

from __future__ import annotations

import copyreg
import csv
import gc
import mimetypes
import os
import socket
import sqlite3
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from mlplatform.launcher.notebook.process import Process


class Point:
    """As a cell would define it."""


@pytest.fixture
def space() -> dict[str, Any]:
    found: dict[str, Any] = {}
    exec(
        "def reduce(point): return ('point', ())\ndef adapt(point): return 4\ndef back(data): return int(data) * 10",
        found,
    )
    return found


@pytest.fixture
def process(space: dict[str, Any]) -> Iterator[Process]:
    made = Process(space)
    before = os.umask(0o022)
    os.umask(before)
    yield made
    made.write({})
    assert made.read(frozenset()) == {}


def change(space: dict[str, Any]) -> None:
    os.umask(0o077)
    gc.disable()
    sys.setswitchinterval(0.01)
    socket.setdefaulttimeout(7)
    copyreg.pickle(Point, space["reduce"])
    csv.register_dialect("pipe", delimiter="|")
    csv.field_size_limit(1000)
    sqlite3.register_adapter(Point, space["adapt"])
    sqlite3.register_converter("point", space["back"])


def look() -> list[Any]:
    mask = os.umask(0o022)
    os.umask(mask)
    told = sqlite3.connect(":memory:", detect_types=sqlite3.PARSE_COLNAMES)
    row: Any = None
    try:
        row = told.execute("select ? as 'x [point]'", (Point(),)).fetchone()[0]
    except sqlite3.Error as problem:
        row = type(problem).__name__
    told.close()
    return [
        mask,
        gc.isenabled(),
        round(sys.getswitchinterval(), 3),
        socket.getdefaulttimeout(),
        Point in copyreg.dispatch_table,
        sorted(csv.list_dialects()),
        csv.field_size_limit(),
        row,
    ]


def test_what_cells_set_is_taken_back_and_brought_again(process: Process, space: dict[str, Any]) -> None:
    before = look()
    assert process.read(frozenset()) == {}
    change(space)
    items, changed = process.read(frozenset()), look()
    assert sorted(items) == ["@copyreg", "@csv", "@process", "@sqlite3"]
    assert all(one != other for one, other in zip(before, changed, strict=True)), changed
    process.write({})
    assert look() == before
    process.write(items)
    assert look() == changed
    assert not list(process.blocks())


def test_colour_maps_of_the_notebook(process: Process) -> None:
    import matplotlib as mpl
    import seaborn  # noqa: F401 - it registers maps of its own

    assert "@colormaps" not in process.read(frozenset())
    mpl.colormaps.register(mpl.colors.ListedColormap(["red", "blue"], name="mine"))
    items = process.read(frozenset())
    process.write({})
    assert "mine" not in mpl.colormaps
    process.write(items)
    assert mpl.colormaps["mine"](0) == (1.0, 0.0, 0.0, 1.0)


def test_what_can_only_be_registered_blocks_for_good(process: Process) -> None:
    assert mimetypes
    process.read(frozenset(("mimetypes", "add_type")))
    process.read(frozenset())
    assert list(process.blocks()) == ["a type registered with mimetypes"]
    process.read(frozenset(("set_seed", "np")))
    assert "tensorflow" in sys.modules or len(list(process.blocks())) == 1
