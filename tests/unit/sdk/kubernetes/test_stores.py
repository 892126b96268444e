"""The artifact store of a cluster's runs, seen from a person's machine."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from mlplatform.artifacts import facade
from mlplatform.core.errors import ArtifactError, Unsupported
from mlplatform.kube.client import Client
from mlplatform.kube.errors import Forbidden
from mlplatform.kube.objects import Key, Resource
from mlplatform.sdk.kubernetes.stores import make_known, settings_of, uploaded

STORE = {"uri": "s3://bucket/runs", "endpoint": "http://s3.test:9000", "region": "eu", "secretName": "login"}
LOGIN = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "word"}


class Secrets(Client):
    def __init__(self, *, may: bool = True) -> None:
        self.may = may

    def get(self, resource: Resource, key: Key) -> dict[str, Any]:
        assert (resource.kind, key) == ("Secret", Key("team", "login"))
        if not self.may:
            raise Forbidden("no", status=403)
        return {"data": {name: base64.b64encode(value.encode()).decode() for name, value in LOGIN.items()}}


class Bucket:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.writes = 0

    def exists(self, uri: str) -> bool:
        return uri in self.kept

    def put(self, source: Path, uri: str) -> None:
        self.writes += 1
        self.kept[uri] = source.read_bytes()


def test_its_login_is_this_machines_else_the_namespaces_secret() -> None:
    place = {"MLPLATFORM_S3_ENDPOINT": "http://s3.test:9000", "AWS_DEFAULT_REGION": "eu"}
    assert settings_of(STORE, "team", Secrets, {}) == {**place, **LOGIN}
    assert settings_of(STORE, "team", lambda: Secrets(may=False), {"AWS_PROFILE": "mine"}) == place
    with pytest.raises(ArtifactError, match="the Secret team/login may not be read by you") as error:
        settings_of(STORE, "team", lambda: Secrets(may=False), {})
    assert "AWS_ACCESS_KEY_ID" in error.value.hint


def test_objects_go_up_by_content_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, asked = Bucket(), list[dict[str, str]]()

    def opened(login: Any = None) -> Any:
        asked.append(dict(login or {}))
        return bucket

    monkeypatch.setattr(facade, "_places", {})
    monkeypatch.setattr(facade, "_OPENERS", {"s3": opened})
    monkeypatch.setattr(facade, "_s3", opened)
    make_known(STORE, "team", Secrets, {})
    (tmp_path / "df").write_bytes(b"rows")
    given = {
        "df": {"uri": str(tmp_path / "df"), "digest": "sha256:abc", "type": "system.Dataset"},
        "far": {"uri": "s3://other/x", "type": "system.Artifact"},
    }
    found = uploaded(given, STORE, "team")
    place = "s3://bucket/runs/team/values/abc"
    assert found["df"] == {"uri": place, "digest": "sha256:abc", "type": "system.Dataset"}
    assert found["far"] == given["far"]
    assert uploaded(given, STORE, "team") == found
    assert (bucket.kept, bucket.writes, asked[0]["AWS_ACCESS_KEY_ID"]) == ({place: b"rows"}, 1, "me")
    for store, words in (({}, "which is not set"), ({"claimName": "c"}, "a claim that only pods can mount")):
        with pytest.raises(Unsupported, match=words) as error:
            uploaded(given, store, "team")
        assert "(df)" in error.value.message
        assert "MLPLATFORM_RUNS_STORE" in error.value.hint
