from __future__ import annotations

import errno
import json
import os
import tarfile
from pathlib import Path

import pytest

from mlplatform.core.errors import EnvironmentFailed, InvalidInput, NotFound
from mlplatform.images.layers import write_image, write_layer
from mlplatform.images.layout import CONTAINERD_NAME, Layout
from mlplatform.images.model import Descriptor, Platform, Settings, read_object
from mlplatform.images.tree import Tree
from tests.support.podman import podman


def image(layout: Layout, content: bytes = b"x", platform: Platform | None = None) -> Descriptor:
    tree = Tree()
    tree.file("file", content)
    return write_image(layout, [write_layer(tree, layout, 0)], Settings(), 0, platform=platform)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def test_images_are_found_by_name_and_digest(layout: Layout) -> None:
    one, two = image(layout, b"one"), image(layout, b"two")
    layout.name(one, "v1")
    layout.name(two, "v2")
    assert layout.find("v1").digest == one.digest
    assert layout.find(two.digest).digest == two.digest
    layout.name(two, "v1")
    assert layout.find("v1").digest == two.digest
    assert json.loads((layout.folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    with pytest.raises(NotFound, match="no image 'v3'") as caught:
        layout.find("v3")
    assert "There is: v1, v2." in str(caught.value)


def test_an_archive_is_the_same_bytes_each_time_and_gives_the_image_back(layout: Layout, tmp_path: Path) -> None:
    found = image(layout)
    name = "registry.example.com/team/model:v1"
    layout.export(found, tmp_path / "a.tar", name)
    layout.export(found, tmp_path / "b.tar", name)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getnames()[:2] == ["oci-layout", "index.json"]
    back = Layout(tmp_path / "back")
    (loaded,) = back.load(tmp_path / "a.tar")
    assert loaded.digest == found.digest
    assert loaded.annotations[CONTAINERD_NAME] == name
    assert back.find(name).digest == back.find("v1").digest == found.digest
    assert [back.read(blob) for blob in back.reachable(found)] == [
        layout.read(blob) for blob in layout.reachable(found)
    ]


def test_a_real_engine_takes_the_archive(layout: Layout, tmp_path: Path) -> None:
    try:
        engine = podman()
    except RuntimeError as error:
        pytest.skip(str(error))
    layout.export(image(layout), tmp_path / "image.tar", "localhost/mlplatform-layout:test")
    told = engine.run("load", "--quiet", "--input", str(tmp_path / "image.tar"))
    name = told.strip().rpartition(" ")[2]
    inspected = json.loads(engine.run("image", "inspect", name))
    engine.run("rmi", name)
    assert inspected[0]["Architecture"] == "amd64"
    assert (
        inspected[0]["RootFS"]["Layers"]
        == read_object(layout.read(layout.manifest(image(layout)).config))["rootfs"]["diff_ids"]
    )


def test_a_damaged_archive_is_refused(layout: Layout, tmp_path: Path) -> None:
    found = image(layout)
    layout.export(found, tmp_path / "a.tar", "x:1")
    blob = layout.manifest(found).config.digest.removeprefix("sha256:")
    data = (tmp_path / "a.tar").read_bytes()
    at = data.rindex(b'"architecture"')  # in the configuration
    (tmp_path / "a.tar").write_bytes(data[:at] + b'"architectura"' + data[at + 14 :])
    back = Layout(tmp_path / "back")
    with pytest.raises(InvalidInput, match="damaged"):
        back.load(tmp_path / "a.tar")
    assert not (back.folder / "blobs" / "sha256" / blob).exists()


@pytest.mark.parametrize(("data", "words"), [(b"no tar at all", "no tar archive"), (None, "no archive")])
def test_what_is_no_archive_is_told(layout: Layout, tmp_path: Path, data: bytes | None, words: str) -> None:
    if data is not None:
        (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(InvalidInput, match=words):
        layout.load(tmp_path / "a.tar")


def test_a_damaged_blob_is_never_taken_for_what_it_was(layout: Layout) -> None:
    found = image(layout)
    layout.path(found.digest).write_bytes(b"{}")
    with pytest.raises(EnvironmentFailed, match="damaged"):
        layout.manifest(found)


def test_a_full_disk_is_told_and_leaves_nothing(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    image(layout)
    before = sorted(layout.folder.rglob("*"))
    monkeypatch.setattr("mlplatform.images.layout.os.fsync", full)
    with pytest.raises(EnvironmentFailed, match="No space left on device") as caught:
        layout.put(b"new", "text/plain")
    assert "Free some space" in str(caught.value)
    with pytest.raises(EnvironmentFailed, match="No space left on device"):
        layout.export(image(layout), layout.folder / "a.tar", "x:1")
    assert sorted(layout.folder.rglob("*")) == before


def test_a_digest_is_no_path(layout: Layout) -> None:
    for text in ("sha256:../../etc/passwd", "md5:abc", "sha256:" + "A" * 64):
        with pytest.raises(InvalidInput):
            layout.path(text)


def test_a_copy_holds_everything(layout: Layout, tmp_path: Path) -> None:
    found = image(layout)
    other = Layout(tmp_path / "other")
    layout.copy(found, other, "v1")
    assert other.find("v1").digest == found.digest
    assert all(other.has(blob.digest) for blob in layout.reachable(found))
