"""Notebooks of sections, run by the installed command line, and what their runs tell."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.books import code, document, md
from tests.support.home import TestHome


class Book:
    """A notebook in a folder and home of its own. ``cells``: heading -> source of the one cell below it."""

    def __init__(self, home: TestHome, **cells: str) -> None:
        self.home = home
        self.cells = dict(cells)

    @property
    def path(self) -> Path:
        return self.home.folder / "book.ipynb"

    def run(self, *words: str, **cells: str) -> dict[str, Any]:
        """Write the notebook, with these cells changed, and run it."""
        self.write(**cells)
        return self.home.json("run", str(self.path), *words, timeout=300)

    def write(self, **cells: str) -> None:
        """Write the notebook, with these cells changed."""
        self.cells.update(cells)
        self._write([cell for title, source in self.cells.items() for cell in (md(f"## {title}"), code(source))])

    def _write(self, cells: Sequence[dict[str, Any]]) -> None:
        made = [{**cell, "id": f"c{index}"} for index, cell in enumerate(cells)]
        self.path.write_text(json.dumps(document(*made)))

    def values(self, result: dict[str, Any], *names: str) -> dict[str, Any]:
        """Final values of a run; no names: all of them."""
        to = self.home.folder / "values.pkl"
        done = self.home.command("runs", "values", result["run_id"], *names, "--to", str(to))
        assert done.returncode == 0, done.stderr
        return {name: pickle.loads(data) for name, data in pickle.loads(to.read_bytes()).items()}


class TaggedBook(Book):
    """A notebook without headings: its cells have Kale's tags. ``cells``: words of tags -> source."""

    def __init__(self, home: TestHome, cells: dict[str, str]) -> None:
        super().__init__(home, **cells)

    def write(self, **cells: str) -> None:
        self.cells.update(cells)
        self._write([code(source, *tags.split()) for tags, source in self.cells.items()])


def task(result: dict[str, Any], name: str) -> dict[str, Any]:
    """What a run tells of one of its tasks."""
    return next(each for each in result["tasks"] if each["name"] == name)


def why(result: dict[str, Any], name: str) -> str:
    """Why a task ran, or did not."""
    return task(result, name)["why"]


def ran(result: dict[str, Any]) -> list[str]:
    """Names of the tasks that ran."""
    return [each["name"] for each in result["tasks"] if each["state"] == "SUCCEEDED"]


def texts(result: dict[str, Any]) -> list[str]:
    """What the cells of the executed notebook printed and gave, output by output."""
    cells = json.loads(Path(result["notebook"]).read_bytes())["cells"]
    return ["".join(output.get("text") or "") for cell in cells for output in cell.get("outputs", [])]


def shown(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What the cells of the executed notebook displayed and gave: type -> content, output by output."""
    cells = json.loads(Path(result["notebook"]).read_bytes())["cells"]
    return [output["data"] for cell in cells for output in cell.get("outputs", []) if "data" in output]


def in_folder(shared: TestHome, name: str) -> TestHome:
    """The same home, another folder for the notebook."""
    folder = shared.folder / name
    folder.mkdir()
    (folder / "home").symlink_to(shared.root, target_is_directory=True)
    shared.root.mkdir(exist_ok=True)
    return TestHome(folder, shared.env)
