from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mlplatform.core.errors import NotFound, Unsupported
from mlplatform.images.base import fetch_base
from mlplatform.images.layers import write_image, write_layer
from mlplatform.images.layout import Layout
from mlplatform.images.model import Descriptor, Platform, Settings
from mlplatform.images.tree import Tree


def base(folder: Path, *layers: Mapping[str, str | None], path: str = "/usr/local/bin:/usr/bin:/bin") -> Layout:
    """A layout with one image: each layer a table of paths, with a link's target or None for a file."""
    layout = Layout(folder)
    packed = []
    for entries in layers:
        tree = Tree()
        for name, target in entries.items():
            if target is None:
                tree.file(name, b"x", executable=True)
            else:
                tree.symlink(name, target)
        packed.append(write_layer(tree, layout, 0))
    layout.name(write_image(layout, packed, Settings(environment={"PATH": path} if path else {}), 0), "v1")
    return layout


DEBIAN = {"bin": "usr/bin", "usr/bin/python3": "python3.11", "usr/bin/python3.11": None}


LOCAL = {"usr/local/bin/python3": "python3.12", "usr/local/bin/python3.12": None}
VENV = {"usr/local/bin/python": "/opt/venv/bin/python", "opt/venv/bin/python": "/usr/bin/python3"}


@pytest.mark.parametrize(
    ("layers", "python", "version"),
    [
        ([DEBIAN], "/usr/bin/python3.11", "3.11"),
        ([DEBIAN, LOCAL], "/usr/local/bin/python3.12", "3.12"),
        ([DEBIAN, VENV], "/usr/bin/python3.11", "3.11"),
        ([DEBIAN, {"usr/bin/.wh.python3": None, "usr/bin/python3.9": None}], "/usr/bin/python3.11", "3.11"),
        ([DEBIAN, {"usr/bin/.wh..wh..opq": None, "usr/bin/python3.9": None}], "/usr/bin/python3.9", "3.9"),
    ],
)
def test_the_python_that_a_container_would_run_is_found(
    tmp_path: Path, layers: list[Mapping[str, str | None]], python: str, version: str
) -> None:
    base(tmp_path / "base", *layers)
    found = fetch_base(f"oci:{tmp_path / 'base'}", Layout(tmp_path / "own"), Platform())
    assert (found.python, found.version, found.musl) == (python, version, False)
    assert found.path == "/usr/local/bin:/usr/bin:/bin"


def test_an_image_that_says_no_path_has_the_usual_one(tmp_path: Path) -> None:
    base(tmp_path / "base", DEBIAN, path="")
    found = fetch_base(f"oci:{tmp_path / 'base'}:v1", Layout(tmp_path / "own"), Platform())
    assert found.path.startswith("/usr/local/sbin:")


def test_the_c_library_is_told_apart(tmp_path: Path) -> None:
    base(tmp_path / "base", DEBIAN, {"lib/ld-musl-x86_64.so.1": None})
    assert fetch_base(f"oci:{tmp_path / 'base'}", Layout(tmp_path / "own"), Platform()).musl


def test_its_layers_are_copied_or_taken_from_an_archive(tmp_path: Path) -> None:
    layout = base(tmp_path / "base", DEBIAN)
    image = layout.find()
    layout.export(image, tmp_path / "base.tar", "registry.example.com/base:1")
    for number, source in enumerate(("oci:" + str(tmp_path / "base"), f"oci-archive:{tmp_path / 'base.tar'}")):
        own = Layout(tmp_path / f"own-{number}")
        found = fetch_base(source, own, Platform())
        assert found.image.digest == image.digest
        assert all(
            own.has(blob.digest) for blob in own.reachable(Descriptor(image.media_type, image.digest, image.size))
        )


def test_a_base_without_python_is_refused(tmp_path: Path) -> None:
    base(tmp_path / "base", {"usr/bin/python2.7": None, "usr/bin/python3-config": None, "usr/bin/python3": "nowhere"})
    with pytest.raises(Unsupported, match="no Python 3 on its PATH"):
        fetch_base(f"oci:{tmp_path / 'base'}", Layout(tmp_path / "own"), Platform())


@pytest.mark.parametrize("source", ["oci:{}/nothing", "oci:{}", "oci-archive:{}/nothing.tar", "oci:{}/base:v2"])
def test_a_base_that_is_not_there(tmp_path: Path, source: str) -> None:
    base(tmp_path / "base", DEBIAN)
    with pytest.raises(NotFound):
        fetch_base(source.format(tmp_path), Layout(tmp_path / "own"), Platform())


def test_links_that_go_round_end(tmp_path: Path) -> None:
    base(tmp_path / "base", {"usr/bin/python3": "python", "usr/bin/python": "python3"})
    with pytest.raises(Unsupported):
        fetch_base(f"oci:{tmp_path / 'base'}", Layout(tmp_path / "own"), Platform())
