"""What no run refers to is forgotten; what one refers to stays, also where another run made it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from mlplatform.engine.notebooks.pruning import prune
from mlplatform.launcher.notebook.keeping import keep, load
from mlplatform.launcher.notebook.parts import SIZE


def write(path: Path, value: object, age: float = 1e6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    os.utime(path, (2e9 - age, 2e9 - age))
    return path


def test_prune(tmp_path: Path) -> None:
    library, runs = tmp_path / "notebooks", tmp_path / "runs"
    kept = write(library / "records/k/gone-0000-1.json", {"groups": {"aa1": {}}, "files": {"writes": {"/t": "f1"}}})
    lost = write(library / "records/k/gone-0001-1.json", {"groups": {"bb1": {}}, "files": {"writes": {"/u": "f2"}}})
    write(lost.with_suffix(".outputs"), {})
    write(runs / "other/notebook/0000.json", {"key": "k", "token": "gone-0000-1"})
    own = write(library / "records/k/other-0001-1.json", {"groups": {"cc1": {}}, "values": {"x": "v1"}})
    files = {
        name: write(library / name, {}) for name in ("groups/aa/aa1", "groups/bb/bb1", "groups/cc/cc1", "files/f1")
    }
    gone = [write(library / name, {}) for name in ("files/f2", "values/v2")]
    young = write(library / "groups/dd/dd1", {}, age=60)
    freed = prune(library, runs, 2e9)
    assert freed > 0
    assert kept.exists()
    assert own.exists()
    assert young.exists()
    assert not lost.exists()
    assert {name for name, path in files.items() if path.exists()} == {"groups/aa/aa1", "groups/cc/cc1", "files/f1"}
    assert not any(path.exists() for path in gone)
    assert not lost.with_suffix(".outputs").exists()


def test_pieces_go_with_the_last_snapshot_that_names_them(tmp_path: Path) -> None:
    library, runs = tmp_path / "notebooks", tmp_path / "runs"
    write(library / "records/k/own-0000-1.json", {"groups": {"aa1": {}}})
    (runs / "own").mkdir(parents=True)
    for group, value in (("aa1", 1.0), ("bb1", 2.0)):
        path = library / "groups" / group[:2] / group
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            keep({"x": np.full(SIZE // 4, value)}, {}, file, frozenset())
    for path in library.glob("*/*/*"):
        os.utime(path, (1e9, 1e9))
    assert len(list(library.glob("parts/*/*"))) == 2  # each is one piece, twice
    prune(library, runs, 2e9)
    assert [path.name for path in library.glob("groups/*/*")] == ["aa1"]
    assert len(list(library.glob("parts/*/*"))) == 1
    assert load(str(library / "groups/aa/aa1"))["x"][-1] == 1.0
