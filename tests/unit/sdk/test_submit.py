"""From files and words on a command line to a checked submission."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.core.errors import InvalidParameters, InvalidPipeline, NotFound, Unsupported
from mlplatform.core.values import ParameterType
from mlplatform.ir.load import loads
from mlplatform.sdk import submit
from mlplatform.sdk.submit import Options, build, parse_value, read_parameters, read_source, split_reference
from tests.support import pipelines
from tests.unit.cli.mistakes import document, train


@pytest.fixture
def train_pipeline() -> Any:
    return loads(json.dumps(document(train())))


@pytest.mark.parametrize(
    ("text", "type_", "value"),
    [
        ("3", "STRING", "3"),
        ("", "STRING", ""),
        ('{"a": 1}', "STRING", '{"a": 1}'),
        (" 3 ", "NUMBER_INTEGER", 3),
        ("2.0", "NUMBER_INTEGER", 2.0),
        ("0.5", "NUMBER_DOUBLE", 0.5),
        ("1e3", "NUMBER_DOUBLE", 1000.0),
        ("True", "BOOLEAN", True),
        ("false", "BOOLEAN", False),
        ("[1, 2]", "LIST", [1, 2]),
        ('{"a": [true]}', "STRUCT", {"a": [True]}),
    ],
)
def test_values_by_type(text: str, type_: str, value: object) -> None:
    found = parse_value(text, ParameterType(type_))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["three", "", "[1", "{'a': 1}", "[" * 100_000])
@pytest.mark.parametrize("type_", ["NUMBER_INTEGER", "LIST", "STRUCT", "BOOLEAN"])
def test_what_is_no_value(text: str, type_: str) -> None:
    with pytest.raises(ValueError, match=f"expected {type_}, got "):
        parse_value(text, ParameterType(type_))


@given(st.text(max_size=200))
def test_a_string_is_what_was_typed(text: str) -> None:
    assert parse_value(text, ParameterType.STRING) == text


def test_parameters_of_the_command_line_win(train_pipeline: Any, tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text('{"model": "a", "epochs": 5}')
    assert read_parameters(train_pipeline, ["epochs=7", "model=x=y"], str(file)) == {"model": "x=y", "epochs": 7}


def test_all_findings_come_at_once(train_pipeline: Any) -> None:
    with pytest.raises(InvalidParameters) as caught:
        read_parameters(train_pipeline, ["epochs=x", "modle=a", "learning_rate=[]", "="])
    found = {finding.path: finding for finding in caught.value.findings}
    assert set(found) == {"", "parameters.epochs", "parameters.modle", "parameters.learning_rate", "parameters.model"}
    assert found["parameters.epochs"].hint == "write -p epochs=3"
    assert found["parameters.modle"].hint == "did you mean 'model'?"


@pytest.mark.parametrize(("text", "message"), [("[1]", "must hold one JSON object"), ("{", "is not JSON")])
def test_a_parameter_file_with_something_else(train_pipeline: Any, tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "p.json"
    file.write_text(text)
    with pytest.raises(InvalidParameters, match=message):
        read_parameters(train_pipeline, [], str(file))
    with pytest.raises(NotFound, match="cannot be read"):
        read_parameters(train_pipeline, [], str(tmp_path / "none.json"))


def test_references(tmp_path: Path) -> None:
    assert split_reference("a.py:train") == ("a.py", "train")
    assert split_reference("a.py") == ("a.py", "")
    assert split_reference("C:\\a.yaml") == ("C:\\a.yaml", "")
    strange = tmp_path / "a.py:b"
    strange.write_text("")
    assert split_reference(str(strange)) == (str(strange), "")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("")
    with pytest.raises(NotFound, match="There is no file") as caught:
        read_source(str(tmp_path / "trian.yaml"))
    assert caught.value.hint == f"Did you mean {str(tmp_path / 'train.yaml')!r}?"
    with pytest.raises(NotFound, match="is a folder"):
        read_source(str(tmp_path))
    with pytest.raises(InvalidPipeline):
        read_source(str(tmp_path / "train.yaml"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_document_is_sent_as_it_was_written(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "c.json"
    text = pipelines.chain(2).text()
    file.write_text(text, encoding=encoding)
    assert read_source(str(file)).text == text


def test_a_submission(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text(pipelines.chain(2).text())
    made = build(read_source(str(file)), {}, Options(experiment="e", cache=False, priority=3, script=True))
    assert made["interpreter"]["executable"] == sys.executable
    assert made["env"] == dict(os.environ)
    assert made["cwd"] == os.getcwd()
    assert {k: made[k] for k in ("experiment", "cache", "priority", "script", "setup_path", "containers")} == {
        "experiment": "e", "cache": False, "priority": 3, "script": True, "setup_path": None, "containers": None,
    }  # fmt: skip


def test_a_setup_is_checked_and_named_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.json").write_text(pipelines.chain(2).text())
    Path("s.json").write_text('{"allow": ["pip"]}')
    source = read_source("c.json")
    assert build(source, {}, Options(setup_path="s.json"))["setup_path"] == str(tmp_path / "s.json")
    Path("s.json").write_text('{"artifacts": {"nothing": {"uri": "x"}}}')
    with pytest.raises(InvalidParameters, match=r"artifacts\.nothing"):
        build(source, {}, Options(setup_path="s.json"))


def test_an_engine_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.json"
    file.write_text(pipelines.chain(1).text())
    source = read_source(str(file))
    (tmp_path / "podman").write_text("#!/bin/sh\n")
    (tmp_path / "podman").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="docker is not on this machine") as caught:
        build(source, {}, Options(containers="docker"))
    assert "--containers podman is there" in caught.value.hint
    assert build(source, {}, Options(containers="podman"))["containers"] == "podman"
    assert submit.build(source, {}, Options(containers="subprocess"))["containers"] == "subprocess"
