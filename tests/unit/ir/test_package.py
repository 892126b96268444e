"""Packages: found, and refused when they are not what they should be."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlplatform.core.errors import InvalidPipeline
from mlplatform.ir import archive, package
from mlplatform.ir.load import load_file
from mlplatform.ir.package import read_bytes, read_file


def make_zip(members: dict[str, bytes], modes: dict[str, int] | None = None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (modes or {}).get(name, 0o100644) << 16
            made.writestr(info, data)
    return stream.getvalue()


def make_tar(members: dict[str, bytes], kinds: dict[str, bytes] | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as made:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.type = (kinds or {}).get(name, tarfile.REGTYPE)
            if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.size, info.linkname = 0, "/etc/passwd"
            made.addfile(info, io.BytesIO(data))
    return stream.getvalue()


MAKERS = pytest.mark.parametrize("make", [make_zip, make_tar])


def refused(data: bytes, origin: str = "p.zip") -> str:
    with pytest.raises(InvalidPipeline) as caught:
        read_bytes(data, origin)
    assert len(caught.value.findings) == 1
    return str(caught.value.findings[0])


@MAKERS
@pytest.mark.parametrize(
    ("members", "chosen"),
    [
        ({"pipeline.yaml": b"a"}, "pipeline.yaml"),
        ({"README.md": b"r", "x/any.yml": b"b"}, "x/any.yml"),
        ({"other.yaml": b"o", "deep/er/pipeline.json": b"{}"}, "deep/er/pipeline.json"),
        ({".hidden.yaml": b"h", "./pipeline.yaml": b"a"}, "./pipeline.yaml"),
    ],
)
def test_finds_the_pipeline(make: Any, members: dict[str, bytes], chosen: str) -> None:
    document = read_bytes(make(members), "here.pkg")
    assert document.data == members[chosen]
    assert document.origin == f"here.pkg:{chosen}"


@MAKERS
def test_loads_whatever_the_name(tmp_path: Path, make: Any, document: dict[str, Any]) -> None:
    text = yaml.safe_dump(document).encode()
    plain, packed = tmp_path / "p.yaml", tmp_path / "p.bin"
    plain.write_bytes(text)
    packed.write_bytes(make({"pipeline.yaml": text}))
    assert load_file(packed) == load_file(plain)


@MAKERS
def test_names_that_leave_the_package(make: Any) -> None:
    for name in ("../pipeline.yaml", "/etc/pipeline.yaml", "a/../../b.yaml", "..\\pipeline.yaml", "C:\\x.yaml"):
        assert "outside of it" in refused(make({name: b"a"}))
        assert "outside of it" in refused(make({"pipeline.yaml": b"a", name: b"a"}))


@MAKERS
def test_not_exactly_one(make: Any) -> None:
    assert "no YAML or JSON" in refused(make({}))
    assert "no YAML or JSON" in refused(make({"a.txt": b"x"}))
    assert "more than one pipeline in the package: a.yaml, b.yaml" in refused(make({"a.yaml": b"", "b.yaml": b""}))
    assert "more than one" in refused(make({"pipeline.yaml": b"", "x/pipeline.json": b""}))


def test_links_and_devices() -> None:
    assert "link or device" in refused(make_zip({"pipeline.yaml": b"/etc/passwd"}, {"pipeline.yaml": 0o120777}))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
        assert "link or device" in refused(make_tar({"pipeline.yaml": b""}, {"pipeline.yaml": kind}))


@MAKERS
def test_bombs(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "members" in refused(make({f"{n}.txt": b"" for n in range(1001)}))
    monkeypatch.setattr(archive, "MAX_BYTES", 100_000)
    assert "unpacks to more" in refused(make({"pipeline.yaml": bytes(200_000)}))
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 300_000)
    many = {f"{n}.yaml": bytes(90_000) for n in range(5)}
    assert "unpacks to more" in refused(make(many))


def test_a_bomb_beside_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 4 << 20)
    assert "unpacks to more" in refused(make_tar({"a.bin": bytes(16 << 20), "pipeline.yaml": b"a"}))
    assert read_bytes(make_zip({"a.bin": bytes(16 << 20), "pipeline.yaml": b"a"})).data == b"a"


def test_a_zip_that_lies_about_its_size() -> None:
    data = bytearray(make_zip({"pipeline.yaml": bytes(1000)}))
    directory = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, directory + 24, 10)
    assert "damaged" in refused(bytes(data))


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_damaged(make: Any) -> None:
    whole = make({"pipeline.yaml": b"pipelineInfo: {name: x}\n" * 50})
    for cut in range(4, len(whole) - 1, 7):
        try:
            read_bytes(whole[:cut])
        except InvalidPipeline:
            continue
    for position in range(0, len(whole), 3):
        broken = bytearray(whole)
        broken[position] ^= 0xFF
        try:
            read_bytes(bytes(broken))
        except InvalidPipeline:
            continue


def test_other_things_named_like_packages() -> None:
    assert "named like a package" in refused(b"hello", "a.zip")
    assert "named like a package" in refused(b"hello", "A.TAR.GZ")
    assert "damaged" in refused(gzip.compress(b"pipelineInfo: {}"), "pipeline.yaml.gz")
    assert "damaged" in refused(b"PK\x03\x04" + b"x" * 100)
    assert "damaged" in refused(b"\x1f\x8b" + b"x" * 100)


def test_encrypted_zip() -> None:
    data = bytearray(make_zip({"pipeline.yaml": b"a" * 50}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "damaged" in refused(bytes(data))


def test_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as stream:
        stream.truncate(100 << 20)
    with pytest.raises(InvalidPipeline, match="larger than 32 MiB"):
        read_file(path)
    monkeypatch.setattr(package, "MAX_PACKAGE_BYTES", 10)
    path.write_bytes(make_zip({"pipeline.yaml": b"a"}))
    with pytest.raises(InvalidPipeline, match="larger than"):
        read_file(path)
    assert "larger than" in refused(make_zip({"pipeline.yaml": b"a"}))
