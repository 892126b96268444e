"""Push and pull, on the real docker-registry of Debian; what only other registries do, on a small server here."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlplatform.core.errors import EnvironmentFailed, NotFound
from mlplatform.images.layers import Layer, write_image, write_layer
from mlplatform.images.layout import Layout
from mlplatform.images.model import INDEX, Descriptor, Platform, Settings, dump
from mlplatform.images.references import Reference
from mlplatform.images.registry import Registry, Told, pull, push
from mlplatform.images.registry.transport import Transport, Unauthorized
from mlplatform.images.tree import Tree
from tests.support.registry import PASSWORD, USER, RegistryServer, line_to, running_registry


@pytest.fixture(scope="module")
def server() -> Iterator[RegistryServer]:
    with running_registry() as found:
        yield found


@pytest.fixture(scope="module")
def locked() -> Iterator[RegistryServer]:
    with running_registry(login=True) as found:
        yield found


def registry(host: str, environ: dict[str, str] | None = None, chunk: int = 1 << 20) -> Registry:
    quiet = {"HOME": "/nonexistent", "DOCKER_CONFIG": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"}
    return Registry(Transport(host, environ={**quiet, **(environ or {})}, pause=0.01), chunk=chunk)


def layer(layout: Layout, content: bytes, name: str = "data") -> Layer:
    tree = Tree()
    tree.file(name, content)
    return write_layer(tree, layout, 0)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture
def image(layout: Layout) -> Descriptor:
    """Two layers: one of some bytes, one of 5 MB that do not compress."""
    return write_image(layout, [layer(layout, b"small"), layer(layout, os.urandom(5 << 20))], Settings(), 0)


def test_what_is_pushed_is_pulled_back_to_the_byte(
    server: RegistryServer, layout: Layout, image: Descriptor, tmp_path: Path
) -> None:
    there = registry(server.host)
    there.ping()
    name = Reference.parse(f"{server.host}/team/model:v1")
    pushed = push(there, layout, image, name)
    assert str(pushed) == f"{server.host}/team/model@{image.digest}"
    for wanted in (name, pushed):
        other = Layout(tmp_path / f"other-{wanted.name}")
        assert pull(there, wanted, other).digest == image.digest
        assert [other.read(blob) for blob in other.reachable(image)] == [
            layout.read(b) for b in layout.reachable(image)
        ]


def test_a_second_push_uploads_nothing(server: RegistryServer, layout: Layout, image: Descriptor) -> None:
    told: list[Told] = []
    name = Reference.parse(f"{server.host}/team/twice:v1")
    push(registry(server.host), layout, image, name, report=told.append)
    assert sorted(each.what for each in told) == ["uploaded"] * 3
    told.clear()
    before = len(server.requests("PATCH")) + len(server.requests("POST"))
    push(registry(server.host), layout, image, name, report=told.append)
    assert sorted(each.what for each in told) == ["there"] * 3
    assert len(server.requests("PATCH")) + len(server.requests("POST")) == before


def test_layers_of_a_base_in_the_same_registry_are_mounted_and_never_come_here(
    server: RegistryServer, layout: Layout, image: Descriptor, tmp_path: Path
) -> None:
    there = registry(server.host)
    base_name = Reference.parse(f"{server.host}/base/python:3")
    push(there, layout, image, base_name)
    mine = Layout(tmp_path / "mine")
    base = pull(there, base_name, mine, layers=False)
    own = layer(mine, b"project")
    built = write_image(mine, [own], Settings(), 0, base=base)
    below = mine.manifest(base).layers
    told: list[Told] = []
    elsewhere = {blob.digest: (there, base_name) for blob in below}
    push(there, mine, built, Reference.parse(f"{server.host}/team/mine:v1"), elsewhere=elsewhere, report=told.append)
    assert {each.what for each in told if each.blob in below} == {"mounted"}
    assert not any(mine.has(blob.digest) for blob in below)
    assert pull(there, Reference.parse(f"{server.host}/team/mine:v1"), Layout(tmp_path / "back")).digest == built.digest


def test_layers_of_a_base_elsewhere_are_copied(
    server: RegistryServer, locked: RegistryServer, layout: Layout, image: Descriptor, tmp_path: Path
) -> None:
    there = registry(server.host)
    base_name = Reference.parse(f"{server.host}/base/other:3")
    push(there, layout, image, base_name)
    mine = Layout(tmp_path / "mine")
    base = pull(there, base_name, mine, layers=False)
    elsewhere = {blob.digest: (there, base_name) for blob in mine.manifest(base).layers}
    other = registry(locked.host, login(locked, PASSWORD))
    name = Reference.parse(f"{locked.host}/team/copied:v1")
    push(other, mine, base, name, elsewhere=elsewhere)
    assert pull(other, name, Layout(tmp_path / "back")).digest == image.digest


@pytest.mark.parametrize("chunk", [1 << 20, 64 << 20])
def test_a_line_that_breaks_is_gone_on_with(
    server: RegistryServer, layout: Layout, image: Descriptor, chunk: int, tmp_path: Path
) -> None:
    with line_to(server.host) as line:
        there = registry(line.host, chunk=chunk)
        there.ping()
        line.cut_after = [300_000, 700_000]
        name = Reference.parse(f"{line.host}/team/broken-{chunk}:v1")
        push(there, layout, image, name)
        assert line.cuts == 2
        assert pull(there, name, Layout(tmp_path / "back")).digest == image.digest


def test_a_registry_that_goes_away_mid_push_is_told_and_leaves_no_image(
    server: RegistryServer, layout: Layout, image: Descriptor
) -> None:
    with line_to(server.host) as line:
        there = registry(line.host)
        there.ping()
        line.cut_after = [100_000] * 100
        name = Reference.parse(f"{line.host}/team/gone:v1")
        with pytest.raises(EnvironmentFailed) as caught:
            push(there, layout, image, name)
        assert line.host in str(caught.value)
        line.cut_after = []
        with pytest.raises(NotFound):
            there.manifest(name)
        push(there, layout, image, name)  # what arrived serves the next one


def test_one_that_is_not_there_is_told(layout: Layout, image: Descriptor) -> None:
    with pytest.raises(EnvironmentFailed, match=r"127.0.0.1:1 cannot be reached: Connection refused"):
        push(registry("127.0.0.1:1"), layout, image, Reference.parse("127.0.0.1:1/team/model:v1"))


# ------------------------------------------------------------------ logins
def login(server: RegistryServer, password: str) -> dict[str, str]:
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    return {"DOCKER_AUTH_CONFIG": json.dumps({"auths": {server.host: {"auth": auth}}})}


def test_a_login_opens_the_registry(locked: RegistryServer, layout: Layout, image: Descriptor, tmp_path: Path) -> None:
    there = registry(locked.host, login(locked, PASSWORD))
    name = Reference.parse(f"{locked.host}/team/model:v1")
    push(there, layout, image, name)
    assert pull(there, name, Layout(tmp_path / "back")).digest == image.digest


def test_a_wrong_password_is_told_without_the_password(
    locked: RegistryServer, layout: Layout, image: Descriptor
) -> None:
    there = registry(locked.host, login(locked, "s3cr3t-wrong"))
    with pytest.raises(Unauthorized) as caught:
        push(there, layout, image, Reference.parse(f"{locked.host}/team/model:v2"))
    told = f"{caught.value} {caught.value!r} {caught.value.__cause__} {caught.value.__context__}"
    assert f"{locked.host} refuses user 'tester' of DOCKER_AUTH_CONFIG ({locked.host})" in told
    assert "s3cr3t" not in told
    assert base64.b64encode(b"tester:s3cr3t-wrong").decode() not in told


def test_no_login_at_all_is_told_with_what_to_do(locked: RegistryServer) -> None:
    with pytest.raises(Unauthorized) as caught:
        registry(locked.host).ping()
    assert f"docker login {locked.host}" in str(caught.value)


# ------------------------------------------------------------------ names and platforms
def test_an_index_gives_the_image_of_a_platform(
    server: RegistryServer, layout: Layout, image: Descriptor, tmp_path: Path
) -> None:
    there = registry(server.host)
    name = Reference.parse(f"{server.host}/team/multi:v1")
    arm = write_image(layout, [layer(layout, b"arm")], Settings(), 0, platform=Platform("linux", "arm64"))
    for each in (image, arm):
        push(there, layout, each, name.at(each.digest))
    manifests = [each.to_json() for each in (image, arm)]
    there.put_manifest(name, dump({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}), INDEX)
    back = Layout(tmp_path / "back")
    assert pull(there, name, back).digest == image.digest
    assert pull(there, name, back, platform=Platform("linux", "arm64")).digest == arm.digest
    with pytest.raises(NotFound, match="not there for linux/riscv64") as caught:
        pull(there, name, back, platform=Platform("linux", "riscv64"))
    assert "linux/amd64, linux/arm64" in str(caught.value)


def test_an_image_that_is_not_there(server: RegistryServer, layout: Layout) -> None:
    with pytest.raises(NotFound, match=r"There is no image .*/nobody/nothing:latest"):
        pull(registry(server.host), Reference.parse(f"{server.host}/nobody/nothing"), layout)


def test_a_full_disk_is_told_and_leaves_nothing_half(
    server: RegistryServer, layout: Layout, image: Descriptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = registry(server.host)
    name = Reference.parse(f"{server.host}/team/full:v1")
    push(there, layout, image, name)
    import errno

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("mlplatform.images.layout.os.fsync", full)
    back = Layout(tmp_path / "back")
    back.folder.mkdir()
    with pytest.raises(EnvironmentFailed, match="No space left on device"):
        pull(there, name, back)
    assert [file.name for file in back.folder.rglob("*") if file.is_file() and file.name != "oci-layout"] == []
