from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlplatform.core.errors import InvalidInput, NotFound
from mlplatform.images.project import read_project


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def paths(file: Path) -> list[str]:
    return [path for path, entry in read_project(file, "/project").tree.entries() if entry.source is not None]


def test_a_file_travels_with_the_modules_it_reaches(tmp_path: Path) -> None:
    write(
        tmp_path,
        train_py="import json, yaml\nfrom feat_a import rates\nimport helpers_b\n",
        helpers_b_py="from feat_a.deep_c import more_d\n",
        unused_py="",
    )
    (tmp_path / "feat_a" / "deep_c").mkdir(parents=True)
    (tmp_path / "feat_a" / "__init__.py").write_text("")
    (tmp_path / "feat_a" / "rates.py").write_text("RATE = 3\n")
    (tmp_path / "feat_a" / "deep_c" / "more_d.py").write_text("")
    found = read_project(tmp_path / "train.py", "/project")
    assert paths(tmp_path / "train.py") == [
        "project/feat_a/__init__.py",
        "project/feat_a/deep_c/more_d.py",
        "project/feat_a/rates.py",
        "project/helpers_b.py",
        "project/train.py",
    ]
    assert "PyYAML" in found.imports
    assert found.findings == found.warnings == ()


def test_a_notebook_is_read_cell_by_cell(tmp_path: Path) -> None:
    write(tmp_path, helpers_n_py="", other_n_py="")
    cells = [
        {"cell_type": "markdown", "source": "import nothing"},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "import helpers_n\n", "!ls\n"]},
        {"cell_type": "code", "source": "this is no Python"},
        {"cell_type": "code", "source": "%%bash\nimport other_n"},
    ]
    (tmp_path / "book.ipynb").write_text(json.dumps({"cells": cells}))
    assert paths(tmp_path / "book.ipynb") == ["project/book.ipynb", "project/helpers_n.py"]


def test_what_is_not_installed_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path, train_py="import surely_not_installed\n")
    (warning,) = read_project(tmp_path / "train.py", "/project").warnings
    assert (warning.path, warning.code) == ("project.surely_not_installed", "not-found")


def test_what_is_no_program(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_project(tmp_path / "nothing.py", "/project")
    (tmp_path / "a.yaml").write_text("")
    (tmp_path / "b.ipynb").write_text("{}")
    for name in ("a.yaml", "b.ipynb"):
        with pytest.raises(InvalidInput):
            read_project(tmp_path / name, "/project")
