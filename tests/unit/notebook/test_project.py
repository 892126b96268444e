"""Projects and their names."""

from __future__ import annotations

from pathlib import Path

from mlplatform.notebook.project import claim_name, project_of


def notebook(place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    return place


def test_a_repository_is_a_project(tmp_path: Path) -> None:
    (tmp_path / "churn" / ".git").mkdir(parents=True)
    project = project_of(notebook(tmp_path / "churn" / "models" / "train.v2.ipynb"))
    assert (project.root, project.path, project.name) == (tmp_path / "churn", "models/train.v2", "churn")


def test_a_worktree_is_one_as_well(tmp_path: Path) -> None:
    notebook(tmp_path / "tree" / ".git")
    assert project_of(notebook(tmp_path / "tree" / "a" / "b.ipynb")).root == tmp_path / "tree"


def test_a_folder_alone_is_a_project(tmp_path: Path) -> None:
    project = project_of(notebook(tmp_path / "alone" / "x.ipynb"))
    assert (project.root, project.path) == (tmp_path / "alone", "x")


def test_projects_of_one_name_are_told_apart(tmp_path: Path) -> None:
    claims = tmp_path / "claims"
    one = project_of(notebook(tmp_path / "a" / "demo" / "train.ipynb"))
    two = project_of(notebook(tmp_path / "b" / "demo" / "train.ipynb"))
    assert claim_name(claims, one) == "demo"
    assert claim_name(claims, two) == "b/demo"
    assert (claim_name(claims, one), claim_name(claims, two)) == ("demo", "b/demo")
    assert not list(claims.glob(".*"))
