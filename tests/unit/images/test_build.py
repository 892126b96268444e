"""Environments as images: built, built again, unpacked and run, pushed."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlplatform.capture import modules
from mlplatform.cli.images import image
from mlplatform.cli.main import main
from mlplatform.core.errors import InvalidInput
from mlplatform.images.build import Request, build_image
from mlplatform.images.layers import write_image, write_layer
from mlplatform.images.layout import Layout
from mlplatform.images.model import Platform, Settings, read_object
from mlplatform.images.tree import Tree
from tests.support.environments import small_environment
from tests.support.images import archive
from tests.support.registry import running_registry
from tests.support.roots import inside, unpack

#: The test image's Python; what is built on it comes from an environment of the same.
SAME = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the base image's Python is 3.11")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "rates.py").write_text("RATE = 3\n")
    (tmp_path / "train.py").write_text("import cronsim, rates\nprint(cronsim.__file__, rates.RATE)\n")
    return tmp_path / "train.py"


def fake_base(folder: Path, version: str = "", extra: str = "") -> str:
    """A base that only looks like one: enough to build on."""
    version = version or f"{sys.version_info[0]}.{sys.version_info[1]}"
    tree = Tree()
    tree.file(f"usr/bin/python{version}", b"x", executable=True)
    tree.symlink("usr/bin/python3", f"python{version}")
    if extra:
        tree.file(extra, b"x")
    layout = Layout(folder)
    layout.name(
        write_image(layout, [write_layer(tree, layout, 0)], Settings(environment={"PATH": "/usr/bin"}), 0), "base"
    )
    return f"oci:{folder}"


@SAME
def test_what_is_built_runs_with_the_bases_python(project: Path, tmp_path: Path) -> None:
    request = Request(f"oci-archive:{archive('python311')}", project)
    built = build_image(request, folders=small_environment(tmp_path))
    root = unpack(built.layout, built.image, tmp_path / "root")
    config = read_object(built.layout.read(built.layout.manifest(built.image).config))["config"]
    env = dict(each.split("=", 1) for each in config["Env"])
    told = inside(root, "python", f"{config['WorkingDir']}/train.py", env=env)
    assert told.stdout.split() == ["/opt/mlplatform/venv/lib/python3.11/site-packages/cronsim/__init__.py", "3"]
    assert inside(root, "pip", "--version", env=env).stdout.startswith("pip ")
    listed = inside(root, "python", "-c", "import cronsim, sys; print(sys.prefix, cronsim.__cached__)", env=env)
    assert listed.stdout.split()[0] == "/opt/mlplatform/venv"
    assert (root / listed.stdout.split()[1].lstrip("/")).exists()
    assert (root / "opt/mlplatform/requirements.txt").read_text().splitlines() == list(built.packages)


def test_built_twice_from_nothing_it_has_the_same_digest(project: Path, tmp_path: Path) -> None:
    base = fake_base(tmp_path / "base")
    folders = small_environment(tmp_path)
    one = build_image(Request(base, project), layout=Layout(tmp_path / "one"), folders=folders)
    os.utime(project)
    previous = os.umask(0o077)
    try:
        two = build_image(Request(base, project), layout=Layout(tmp_path / "two"), folders=folders)
    finally:
        os.umask(previous)
    assert one.digest == two.digest
    (tmp_path / "rates.py").write_text("RATE = 4\n")
    three = build_image(Request(base, project), layout=Layout(tmp_path / "two"), folders=folders)
    assert three.digest != one.digest
    assert [each.blob for each in three.layers[:-1]] == [each.blob for each in one.layers[:-1]]


def test_its_date_may_be_set(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    built = build_image(Request(fake_base(tmp_path / "base")), folders=small_environment(tmp_path))
    config = read_object(built.layout.read(built.layout.manifest(built.image).config))
    assert config["created"] == "2023-11-14T22:13:20Z"


def test_an_image_for_another_processor_is_built_here(tmp_path: Path) -> None:
    other = "arm64" if platform.machine() == "x86_64" else "amd64"
    request = Request(fake_base(tmp_path / "base"), platform=Platform("linux", other))
    folders = small_environment(tmp_path, "msgspec", "cronsim")
    built = build_image(request, folders=folders)
    root = unpack(built.layout, built.image, tmp_path / "root")
    (library,) = root.glob("opt/mlplatform/venv/lib/python*/site-packages/msgspec/_core*.so")
    machine = {"arm64": b"\xb7\x00", "amd64": b"\x3e\x00"}[other]
    assert library.read_bytes()[18:20] == machine


def test_every_reason_not_to_build_comes_at_once(tmp_path: Path) -> None:
    (site,) = small_environment(tmp_path)
    info = Path(site) / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "direct_url.json").write_text(json.dumps({"url": "file:///x", "dir_info": {"editable": True}}))
    base = fake_base(tmp_path / "base", "3.6")
    with pytest.raises(InvalidInput) as caught:
        build_image(Request(base), layout=Layout(tmp_path / "layout"), folders=[site])
    assert {finding.path: finding.code for finding in caught.value.findings} == {
        "packages.mine": "editable",
        "base": "other-python",
    }


# ------------------------------------------------------------------ the command
def run(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = main(["image", *words])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_the_command_pushes_what_it_pulls_back(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path[:1], *small_environment(tmp_path)])
    for cached in (modules.is_installed, modules._installed_folders):
        cached.cache_clear()
    base = fake_base(tmp_path / "base")
    with running_registry() as server:
        name = f"{server.host}/team/train:v1"
        words = ["build", str(project), "--base", base, "--tag", name, "--push", "--output", "json"]
        status, out, err = run(words, capsys)
        assert (status, err) == (0, "")
        built = json.loads(out)
        assert built["pushed"] == f"{server.host}/team/train@{built['digest']}"
        assert built["modules"] == ["rates"]
        status, out, _ = run(["pull", name, str(tmp_path / "back.tar"), "--output", "json"], capsys)
        assert json.loads(out)["digest"] == built["digest"]
        status, out, _ = run(["push", f"oci-archive:{tmp_path / 'back.tar'}", f"{server.host}/other/train:v2"], capsys)
        assert (status, out.strip()) == (0, f"pushed as {server.host}/other/train@{built['digest']}")
    status, out, err = run(["build", str(project), "--base", base, "--tag", name, "--push"], capsys)
    monkeypatch.undo()
    for cached in (modules.is_installed, modules._installed_folders):
        cached.cache_clear()
    assert status == 1
    assert "cannot be reached" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["build", "--push"], "Say where to push it"),
        (["build", "--tag", "UPPER:x y"], "is no name of an image"),
        (["build", "--platform", "linux"], "is no platform"),
        (["build", "--base", "oci:/nowhere"], "is no OCI layout"),
        (["build", "nothing.py", "--base", "oci:/nowhere"], "There is no file"),
        (["build-platform"], "Say where the images go"),
        (["build-platform", "kernel", "--to", "/nonexistent"], "is no image of the platform"),
        (["push", "team/model", "localhost:1/team/model"], "is no image on this machine"),
    ],
)
def test_mistakes_are_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(words, capsys)
    assert (status, out) == (2, "")
    assert told in err


def test_help_names_every_command() -> None:
    told = CliRunner().invoke(image, ["--help"]).output
    assert all(name in told for name in ("build", "build-platform", "pull", "push"))
