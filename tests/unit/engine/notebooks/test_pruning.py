"""What no run refers to is forgotten; what one refers to stays, also where another run made it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mlplatform.engine.notebooks.pruning import prune


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
