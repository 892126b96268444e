"""The pod's last word: what the launcher leaves is what the controller reads, however large it is."""

from __future__ import annotations

import random
import string
from pathlib import Path
from typing import Any

import pytest

from mlplatform.controllers.pipelinerun.message import LINE, Elsewhere, Result, read_lines, read_message
from mlplatform.launcher.pod import message

REQUEST = {"outputs": {"artifacts": {"data": {}, "many": {"list": True}}}, "log_uri": "s3://b/log"}
ARTIFACT = {"name": "data", "uri": "s3://b/data", "type": "system.Dataset", "metadata": {"rows": 2}, "digest": "d"}


def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: dict[str, Any]) -> str:
    file = tmp_path / "log"
    monkeypatch.setenv("MLPLATFORM_TERMINATION_LOG", str(file))
    message.leave(message.outline(result, REQUEST))
    text = file.read_text(encoding="ascii")
    assert len(text) <= 4096
    return text


def result(**parameters: Any) -> dict[str, Any]:
    artifacts = {"data": [ARTIFACT], "many": [ARTIFACT]}
    return {"state": "SUCCEEDED", "parameters": parameters, "artifacts": artifacts, "finished_at": 12.3456}


def test_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_message(left(tmp_path, monkeypatch, result(a=1, b=2.5, c=[True, None], d="ä\u2028\ud800")))
    assert isinstance(found, Result)
    assert (found.state, found.finished_at, found.log_uri) == ("SUCCEEDED", 12.346, "s3://b/log")
    assert found.values.parameters == {"a": 1, "b": 2.5, "c": [True, None], "d": "ä\u2028\ud800"}
    single, many = found.values.artifacts["data"], found.values.artifacts["many"]
    assert not isinstance(single, tuple)
    assert (single.uri, single.metadata) == ("s3://b/data", {"rows": 2})
    assert isinstance(many, tuple)


def test_one_that_fits_when_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = left(tmp_path, monkeypatch, result(text="again and " * 2000))
    found = read_message(text)
    assert isinstance(found, Result)
    assert found.values.parameters["text"] == "again and " * 2000


def test_a_large_one_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dice = random.Random(3)
    value = "".join(dice.choice(string.printable) for _ in range(200_000))
    found = read_message(left(tmp_path, monkeypatch, result(text=value)))
    assert isinstance(found, Elsewhere)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == found.lines
    assert max(map(len, lines)) < 16_000, "container runtimes cut longer lines"
    again = read_lines(lines, found.digest)
    assert again is not None
    assert again.values.parameters["text"] == value
    assert read_lines(lines[1:], found.digest) is None
    assert read_lines(lines, "another") is None
    assert all(line.startswith(LINE) for line in lines)


def test_a_failure_keeps_the_end_of_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = {"code": "TASK_FAILED", "message": "m" * 5000, "traceback": "frame\n" * 5000 + "the cause", "hint": "h"}
    found = read_message(left(tmp_path, monkeypatch, {"state": "FAILED", "error": problem, "finished_at": 1.0}))
    assert isinstance(found, Result)
    assert found.error is not None
    assert found.error.traceback.endswith("the cause")
    assert len(found.error.message) == 1000


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", "{}", '{"mlplatform": 2}', '{"mlplatform": 1, "z": "!"}', "{" * 9999]
)
def test_what_is_no_message(text: str) -> None:
    assert read_message(text) is None
