"""S3 on a real server."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from mlplatform.artifacts import Artifacts, objects
from mlplatform.core.errors import ArtifactError, Unsupported
from tests.support.s3_server import S3Server, s3_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def store(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return Artifacts()


@pytest.fixture
def client(store: Artifacts) -> Any:
    import boto3

    return boto3.client("s3")


@pytest.fixture
def bucket(client: Any, request: pytest.FixtureRequest) -> str:
    name = f"b{abs(hash(request.node.nodeid)):x}"
    client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "a b.txt").write_text("a")
    (root / "sub" / "ü%2F#?").write_bytes(b"\0\1")
    (root / "link").symlink_to("a b.txt")
    return root


def keys(client: Any, bucket: str) -> set[str]:
    return {item["Key"] for item in client.list_objects_v2(Bucket=bucket).get("Contents", ())}


def test_a_file_there_and_back(store: Artifacts, bucket: str, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(os.urandom(100_000))
    uri = f"s3://{bucket}/runs/1/model"
    assert not store.exists(uri)
    assert not store.is_local(uri)
    store.put(source, uri)
    assert store.exists(uri)
    assert store.digest(uri) == store.digest(str(source))
    assert store.fetch(uri, tmp_path / "x" / "back") == tmp_path / "x" / "back"
    assert (tmp_path / "x" / "back").read_bytes() == source.read_bytes()
    assert store.exists(f"minio://{bucket}/runs/1")
    store.remove(uri)
    assert not store.exists(uri)
    store.remove(uri)


def test_a_large_file_goes_in_parts(store: Artifacts, client: Any, bucket: str, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(os.urandom(2**20) * 40)
    store.put(source, f"s3://{bucket}/large")
    assert client.head_object(Bucket=bucket, Key="large")["ETag"].strip('"').endswith("-3")
    assert store.digest(f"s3://{bucket}/large") == store.digest(str(source))
    store.fetch(f"s3://{bucket}/large", tmp_path / "back")
    assert store.digest(str(tmp_path / "back")) == store.digest(str(source))


def test_a_tree_there_and_back(store: Artifacts, client: Any, bucket: str, tree: Path, tmp_path: Path) -> None:
    uri = f"s3://{bucket}/runs/1/data"
    store.put(tree, uri)
    assert keys(client, bucket) == {
        "runs/1/data/a b.txt", "runs/1/data/link", "runs/1/data/sub/empty/", "runs/1/data/sub/ü%2F#?",
    }  # fmt: skip
    assert store.exists(uri)
    assert store.exists(uri + "/")
    assert store.digest(uri) == store.digest(str(tree))
    store.fetch(uri, tmp_path / "back")
    assert store.digest(str(tmp_path / "back")) == store.digest(str(tree))
    assert (tmp_path / "back" / "sub" / "empty").is_dir()
    store.remove(uri)
    assert keys(client, bucket) == set()


def test_an_empty_tree(store: Artifacts, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    store.put(tmp_path / "empty", f"s3://{bucket}/empty")
    assert store.digest(f"s3://{bucket}/empty") == store.digest(str(tmp_path / "empty"))
    store.fetch(f"s3://{bucket}/empty", tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []


def test_what_was_there_goes(store: Artifacts, client: Any, bucket: str, tree: Path, tmp_path: Path) -> None:
    uri = f"s3://{bucket}/x"
    client.put_object(Bucket=bucket, Key="xy", Body=b"not ours")
    for source, expected in ((tree, 4), (tree / "sub", 2), (tree / "a b.txt", 1), (tree, 4)):
        store.put(source, uri)
        assert store.digest(uri) == store.digest(str(source))
        assert len(keys(client, bucket) - {"xy"}) == expected
    store.remove(uri)
    assert keys(client, bucket) == {"xy"}


def test_objects_of_other_tools(store: Artifacts, client: Any, bucket: str, tmp_path: Path) -> None:
    """No digests, an object for every folder, a thousand keys and more."""
    client.put_object(Bucket=bucket, Key="t/", Body=b"")
    client.put_object(Bucket=bucket, Key="t/sub/", Body=b"")
    for number in range(3):
        client.put_object(Bucket=bucket, Key=f"t/sub/{number}", Body=b"x" * number)
    store.fetch(f"s3://{bucket}/t", tmp_path / "back")
    assert sorted(path.name for path in (tmp_path / "back" / "sub").iterdir()) == ["0", "1", "2"]
    assert store.digest(f"s3://{bucket}/t") == store.digest(str(tmp_path / "back"))
    assert store.digest(f"s3://{bucket}/t/sub/2") == store.digest(str(tmp_path / "back" / "sub" / "2"))


def test_many_objects(store: Artifacts, client: Any, bucket: str, tmp_path: Path) -> None:
    root = tmp_path / "many"
    root.mkdir()
    for number in range(1010):
        (root / str(number)).write_text(str(number))
    store.put(root, f"s3://{bucket}/many")
    assert store.digest(f"s3://{bucket}/many") == store.digest(str(root))
    store.remove(f"s3://{bucket}/many")
    assert keys(client, bucket) == set()


# ------------------------------------------------------------------ what goes wrong
@pytest.mark.parametrize("key", ["t/../../evil", "t/a//b", "t/./b"])
def test_keys_that_lead_out_are_refused(store: Artifacts, bucket: str, tmp_path: Path, key: str) -> None:
    (tmp_path / "f").write_text("x")
    for call in (
        lambda: store.put(tmp_path / "f", f"s3://{bucket}/{key}"),
        lambda: store.fetch(f"s3://{bucket}/{key}", tmp_path / "t"),
        lambda: store.remove(f"s3://{bucket}/{key}"),
    ):
        with pytest.raises(ArtifactError, match="leads out of its place"):
            call()


def test_a_listing_with_evil_keys(
    store: Artifacts, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server of the tests keeps no such keys; Amazon's does."""
    from mlplatform.artifacts.s3 import S3Store

    evil = objects.ObjectInfo("t/../../evil", 1)
    monkeypatch.setattr(S3Store, "listing", lambda *_: iter([objects.ObjectInfo("t/ok", 1), evil]))
    with pytest.raises(ArtifactError, match="leads out of its place"):
        store.fetch(f"s3://{bucket}/t", tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_nothing_there(store: Artifacts, bucket: str, tmp_path: Path) -> None:
    for call in (
        lambda: store.fetch(f"s3://{bucket}/none", tmp_path / "x"),
        lambda: store.digest(f"s3://{bucket}/none"),
    ):
        with pytest.raises(ArtifactError, match="there is nothing at"):
            call()
    with pytest.raises(ArtifactError, match="does not exist"):
        store.put(tmp_path / "none", f"s3://{bucket}/x")
    (tmp_path / "f").write_text("x")
    for uri in ("s3://no-such-bucket-here/x", "s3://no-such-bucket-here/y"):
        with pytest.raises(ArtifactError, match="no such bucket"):
            store.put(tmp_path / "f", uri)
    for uri in ("s3://", "s3://bucket", "s3:///key"):
        with pytest.raises(ArtifactError, match="names no object"):
            store.exists(uri)
    assert not (tmp_path / "x").exists()


def test_wrong_credentials_and_no_server(
    store: Artifacts, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(ArtifactError, match="the secret key is wrong") as caught:
        Artifacts().put(tmp_path / "f", f"s3://{bucket}/x")
    assert "wrong-secret" not in str(caught.value)
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(ArtifactError, match="no credentials"):
        Artifacts().put(tmp_path / "f", f"s3://{bucket}/x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("MLPLATFORM_S3_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ArtifactError, match=r"127\.0\.0\.1:9") as caught:
        Artifacts().exists(f"s3://{bucket}/x")
    assert "MLPLATFORM_S3_ENDPOINT" in caught.value.hint


def test_a_damaged_object_is_not_taken(store: Artifacts, client: Any, bucket: str, tmp_path: Path) -> None:
    client.put_object(Bucket=bucket, Key="x", Body=b"other", Metadata={objects.DIGEST_KEY: "0" * 64})
    with pytest.raises(ArtifactError, match="arrived damaged"):
        store.fetch(f"s3://{bucket}/x", tmp_path / "back")
    assert list(tmp_path.iterdir()) == []


def test_links_and_names_that_object_stores_lack(store: Artifacts, client: Any, bucket: str, tmp_path: Path) -> None:
    for name, link in (("out", "/etc/passwd"), ("nowhere", "nothing")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "link").symlink_to(link)
        with pytest.raises(ArtifactError, match="link"):
            store.put(tmp_path / name, f"s3://{bucket}/x")
    (tmp_path / "latin").mkdir()
    with open(os.fsencode(tmp_path / "latin") + b"/\xff", "wb"):
        pass
    with pytest.raises(ArtifactError, match="no UTF-8"):
        store.put(tmp_path / "latin", f"s3://{bucket}/x")
    assert keys(client, bucket) == set()


def test_a_file_that_changes_while_it_is_stored(
    store: Artifacts, client: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlplatform.artifacts.s3 import S3Store

    source = tmp_path / "f"
    source.write_text("before")
    real = S3Store.upload

    def upload(self: S3Store, path: Path, *rest: Any) -> None:
        path.write_text("after, and longer")
        real(self, path, *rest)

    monkeypatch.setattr(S3Store, "upload", upload)
    with pytest.raises(ArtifactError, match="changed while"):
        store.put(source, f"s3://{bucket}/x")
    assert keys(client, bucket) == set()


def test_modes_do_not_matter(store: Artifacts, bucket: str, tree: Path) -> None:
    before = store.digest(str(tree))
    (tree / "a b.txt").chmod(stat.S_IRWXU)
    store.put(tree, f"s3://{bucket}/x")
    assert store.digest(f"s3://{bucket}/x") == before


def test_without_boto3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(Unsupported) as caught:
        Artifacts().exists("s3://b/k")
    assert "pip install 'mlplatform[s3]'" in caught.value.hint
