from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import time
from pathlib import Path

from mlplatform.images.layers import write_image, write_layer
from mlplatform.images.layout import Layout
from mlplatform.images.model import Settings, read_object
from mlplatform.images.tree import Tree


def tree(folder: Path, stamp: float) -> Tree:
    folder.mkdir()
    for name in ("b", "a", "long" * 60):
        (folder / name).write_text(name)
        os.utime(folder / name, (stamp, stamp))
    found = Tree()
    found.add(folder, "opt/data")
    found.file("opt/run", b"#!", executable=True)
    found.symlink("opt/link", "run")
    return found


def test_the_same_content_is_the_same_layer_whenever_and_wherever_it_was_written(tmp_path: Path) -> None:
    one = write_layer(tree(tmp_path / "one", 1.0), Layout(tmp_path / "x"), 0)
    two = write_layer(tree(tmp_path / "two", time.time()), Layout(tmp_path / "y"), 0)
    assert one == two
    assert write_layer(tree(tmp_path / "three", 1.0), Layout(tmp_path / "z"), 1700000000).blob.digest != one.blob.digest


def test_a_layer_says_its_sizes_and_digests_truly(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layer = write_layer(tree(tmp_path / "tree", 1.0), layout, 1700000000)
    packed = layout.path(layer.blob.digest).read_bytes()
    plain = gzip.decompress(packed)
    assert layer.blob.size == len(packed)
    assert layer.blob.digest == "sha256:" + hashlib.sha256(packed).hexdigest()
    assert layer.diff_id == "sha256:" + hashlib.sha256(plain).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == [
        "opt", "opt/data", "opt/data/a", "opt/data/b", "opt/data/" + "long" * 60, "opt/link", "opt/run",
    ]  # fmt: skip
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 1700000000)}
    assert [oct(m.mode) for m in members if m.name in ("opt", "opt/data/a", "opt/run")] == ["0o755", "0o644", "0o755"]


def test_a_layer_that_was_packed_before_is_not_packed_again(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    first = write_layer(tree(tmp_path / "one", 1.0), layout, 0, "first")
    blob = layout.path(first.blob.digest)
    before = blob.stat().st_mtime_ns
    again = write_layer(tree(tmp_path / "two", 2.0), layout, 0, "again")
    assert (again.blob, again.diff_id, again.made_by) == (first.blob, first.diff_id, "again")
    assert blob.stat().st_mtime_ns == before
    blob.unlink()  # somebody cleared the cache
    assert write_layer(tree(tmp_path / "three", 3.0), layout, 0).blob == first.blob
    assert blob.exists()


def test_an_image_on_a_base_keeps_what_the_base_says(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    low, high = Tree(), Tree()
    low.file("base", b"base")
    high.file("own", b"own")
    environment = {"PATH": "/usr/bin", "LANG": "C"}
    below = write_layer(low, layout, 0, "base")
    base = write_image(layout, [below], Settings(("/bin/sh",), ("-c", "x"), environment, "app", "/data"), 0)
    above = write_layer(high, layout, 0, "own")
    image = write_image(
        layout, [above], Settings(environment={"PATH": "/venv/bin:/usr/bin"}, labels={"a": "b"}), 0, base=base
    )
    manifest = layout.manifest(image)
    assert [blob.digest for blob in manifest.layers] == [below.blob.digest, above.blob.digest]
    config = read_object(layout.read(manifest.config))
    assert config["rootfs"] == {"type": "layers", "diff_ids": [below.diff_id, above.diff_id]}
    assert [each["created_by"] for each in config["history"]] == ["base", "own"]
    assert config["created"] == "1970-01-01T00:00:00Z"
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    assert config["config"] == {
        "Entrypoint": ["/bin/sh"],
        "Cmd": ["-c", "x"],
        "Env": ["PATH=/venv/bin:/usr/bin", "LANG=C"],
        "User": "app",
        "WorkingDir": "/data",
        "Labels": {"a": "b"},
    }
