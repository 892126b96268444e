"""Inputs and outputs between a pod and the artifact store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlplatform.launcher.failures import AttemptFailed
from mlplatform.launcher.pod import transfer


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLPLATFORM_POD_BASE", str(tmp_path / "pod"))
    return tmp_path / "pod"


def kept(path: Path, uri: str, item: dict[str, Any], mounted: str = "") -> dict[str, Any]:
    entry = {"path": str(path), "uri": uri, "type": "system.Dataset"}
    result = {"artifacts": {"data": [item]}}
    transfer.keep_outputs(result, {"outputs": {"artifacts": {"data": entry}}, "mounted": mounted})
    return result["artifacts"]["data"][0]


def test_a_folder_is_kept_where_its_uri_says(base: Path, tmp_path: Path) -> None:
    path = base / "work" / "data"
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "a").write_text("1", encoding="utf-8")
    uri = f"file://{tmp_path}/store/data"
    item = kept(path, uri, {"uri": uri, "path": str(path), "size": 1})
    assert item["uri"] == uri
    assert "path" not in item
    assert (tmp_path / "store" / "data" / "deep" / "a").read_text(encoding="utf-8") == "1"


def test_the_pods_own_names_are_told_to_nobody(base: Path, tmp_path: Path) -> None:
    path = base / "work" / "data"
    path.mkdir(parents=True)
    (path / "part").write_text("1", encoding="utf-8")
    uri = f"file://{tmp_path}/store/data"
    assert kept(path, uri, {"uri": f"{path}/part", "path": f"{path}/part"})["uri"] == uri + "/part"
    assert (tmp_path / "store" / "data" / "part").exists()
    other = tmp_path / "elsewhere"
    other.write_text("2", encoding="utf-8")
    assert kept(path, uri + "2", {"uri": str(other), "path": str(other)})["uri"] == uri + "2"
    assert (tmp_path / "store" / "data2").read_text(encoding="utf-8") == "2"


def test_what_is_on_the_claim_stays_there(base: Path) -> None:
    path = base / "store" / "run" / "data"
    path.parent.mkdir(parents=True)
    path.write_text("1", encoding="utf-8")
    item = {"uri": "pvc://claim/run/data", "path": str(path)}
    assert kept(path, "pvc://claim/run/data", item, "pvc://claim")["uri"] == "pvc://claim/run/data"
    other = {"uri": str(base / "store" / "other"), "path": ""}
    assert kept(path, "pvc://claim/run/data", other, "pvc://claim")["uri"] == "pvc://claim/other"


def test_metadata_alone_needs_no_store(base: Path) -> None:
    item = {"uri": "nowhere:/t/1/metrics", "path": str(base / "none"), "size": None}
    assert kept(base / "none", "nowhere:/t/1/metrics", item)["uri"] == "nowhere:/t/1/metrics"


def test_a_foreign_uri_is_passed_on(base: Path) -> None:
    item = {"uri": "gs://theirs/model", "path": ""}
    assert kept(base / "none", "s3://ours/model", item)["uri"] == "gs://theirs/model"


def test_inputs_come_and_what_is_missing_is_told(base: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("rows", encoding="utf-8")
    target = base / "inputs" / "in"
    nothing = f"file://{tmp_path}/nothing"
    transfer.fetch({f"file://{tmp_path}/in": str(target), nothing: str(base / "x")}, frozenset({nothing}), str(base))
    assert target.read_text(encoding="utf-8") == "rows"
    with pytest.raises(AttemptFailed, match="an input could not be fetched"):
        transfer.fetch({nothing: str(base / "x")}, frozenset(), str(base))


def test_keys_of_the_store_are_this_process_own(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = base / "store-secret"
    folder.mkdir(parents=True)
    (folder / "AWS_ACCESS_KEY_ID").write_text("key\n", encoding="utf-8")
    (folder / "..data").mkdir()
    for name in ("AWS_ACCESS_KEY_ID", "MLPLATFORM_S3_ENDPOINT", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "")
    transfer.use_store({"endpoint": "http://s3:9000", "region": "eu"})
    import os

    assert os.environ["AWS_ACCESS_KEY_ID"] == "key"
    assert os.environ["MLPLATFORM_S3_ENDPOINT"] == "http://s3:9000"
    assert os.environ["AWS_DEFAULT_REGION"] == "eu"


def test_a_command_that_takes_uris_for_paths_finds_its_inputs(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stored:
        def fetch(self, uri: str, target: Path) -> None:
            target.write_text(uri, encoding="utf-8")

    monkeypatch.setattr(transfer, "stores", Stored)
    uris = ["s3://bucket/run/data", "s3://bucket/run/data/deeper/part", "gs://other/data", "s3://../../out"]
    given = {uri: str(base / "work" / "inputs" / str(number) / "data") for number, uri in enumerate(uris)}
    transfer.fetch(given, frozenset(), str(base / "scratch"))
    monkeypatch.chdir(base / "scratch")
    for uri in (uris[0], uris[2]):
        assert Path(uri).read_text(encoding="utf-8") == uri
    assert not (base / "out").exists(), "nothing appears outside the task's own folder"
