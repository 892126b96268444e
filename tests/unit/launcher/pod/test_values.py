"""Values that are too large for objects of the cluster: out through a store, and in again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.large import ROOM, by_content, find, is_large, replaced, shown
from mlplatform.launcher.failures import AttemptFailed
from mlplatform.launcher.pod import transfer, values

TEXT = "0123456789abcdef\U0001f40d" * 60_000
PREFIX = "pvc://claim/p"


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pod whose store is a claim."""
    monkeypatch.setenv("MLPLATFORM_POD_BASE", str(tmp_path))
    for name in ("store", "work/attempt"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def request(**more: Any) -> dict[str, Any]:
    return {"values_uri": f"{PREFIX}/ns/run-a/t/1/values", "mounted": PREFIX, **more}


def kept(**parameters: Any) -> dict[str, Any]:
    result = {"parameters": parameters}
    values.keep(result, request())
    return result["parameters"]


@pytest.mark.parametrize("value", [TEXT, [TEXT, 1, None], {"a": {"b": TEXT}}])
def test_out_and_in(value: Any) -> None:
    told = kept(big=value, small="s")
    assert told["small"] == "s"
    assert isinstance(told["big"], str)
    assert len(told["big"]) < 500
    asked = {**request(), "executor_input": {"inputs": {"parameterValues": json.loads(json.dumps(told))}}}
    values.bring(asked)
    assert asked["executor_input"]["inputs"]["parameterValues"] == {"big": value, "small": "s"}


def test_inside_other_values() -> None:
    told = kept(big=TEXT)["big"]
    asked = {**request(), "executor_input": {"inputs": {"parameterValues": {"x": [f"<{told}>", {"y": told}]}}}}
    values.bring(asked)
    assert asked["executor_input"]["inputs"]["parameterValues"] == {"x": [f"<{TEXT}>", {"y": TEXT}]}


def test_only_as_much_as_needs_to_goes(base: Path) -> None:
    half = "x" * (ROOM // 2)
    told = kept(a=half, b=half + "y", c="z")
    assert told["a"] == half
    assert is_large(told["b"])
    assert told["c"] == "z"
    assert kept(a=half, c="z") == {"a": half, "c": "z"}
    assert len(list((base / "store").rglob("values/*"))) == 1


def test_without_a_store_it_is_said() -> None:
    with pytest.raises(AttemptFailed, match="no artifact store"):
        values.keep({"parameters": {"big": "x" * 2**20}}, {"values_uri": ""})
    fits = {"parameters": {"big": "x" * 600_000}}
    values.keep(fits, {"values_uri": ""})
    assert not is_large(fits["parameters"])


def test_one_that_was_changed_is_not_believed(base: Path) -> None:
    told = kept(big=TEXT)
    asked = {**request(), "executor_input": {"inputs": {"parameterValues": told}}}
    assert values.gone(told, PREFIX) == ""
    file = next((base / "store").rglob("values/*"))
    file.write_text("other", encoding="utf-8")
    assert values.gone(told, PREFIX) == "a large value of it was changed after it was written"
    with pytest.raises(AttemptFailed, match="another one than was written"):
        values.bring(asked)
    file.unlink()
    assert values.gone(told, PREFIX) == "a large value of it is no longer there"


def test_keys_and_people_are_told_what_it_is() -> None:
    one = kept(big=TEXT)["big"]
    large = next(find(one))
    assert by_content({"a": [one]}) == {"a": [f"text {large.digest}"]}
    assert shown(one) == f"({len(TEXT.encode()):,} bytes at {large.uri}, {large.digest})"
    assert replaced("plain", lambda _: "never") == "plain"


def test_an_earlier_result_stands_while_its_bytes_do(base: Path) -> None:
    told = kept(big=TEXT)
    folder = base / "store" / "ns" / "run-a" / "out"
    folder.mkdir(parents=True)
    (folder / "f").write_text("bytes", encoding="utf-8")
    digest, _ = transfer.stores().digest(str(folder))
    item = {"name": "out", "uri": f"{PREFIX}/ns/run-a/out", "digest": digest}
    metrics = {"name": "m", "uri": f"{PREFIX}/ns/run-a/m", "digest": ""}
    earlier = {"artifacts": {"out": [item], "m": [metrics]}, "parameters": told, "mounted": PREFIX}
    assert transfer.changed(earlier) == ""
    (folder / "f").write_text("Bytes", encoding="utf-8")
    assert transfer.changed(earlier) == "its output 'out' was changed after it was written"
    (folder / "f").unlink()
    folder.rmdir()
    assert transfer.changed(earlier) == "its output 'out' is no longer there"
