"""Every document of the conformance cases: loaded, validated, written back, its parameters resolved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cel import compile as compile_cel

from mlplatform.core.errors import InvalidPipeline
from mlplatform.core.model import Artifact
from mlplatform.core.values import whole_numbers
from mlplatform.ir.arguments import check_arguments
from mlplatform.ir.dump import dump, to_json
from mlplatform.ir.load import load_file, loads
from mlplatform.ir.model import Pipeline
from mlplatform.ir.validate import require_valid, validate

pytestmark = pytest.mark.cannot_run_here("the suite is kept beside this repository, not in it")


def check_cel(expression: str) -> str | None:
    try:
        compile_cel(expression)
    except ValueError as error:
        return str(error).splitlines()[0]
    return None


def load_valid(path: Path) -> Pipeline:
    pipeline = load_file(path)
    require_valid(pipeline, check_cel)
    return pipeline


def files(conformance: Path, bad: bool) -> list[Path]:
    found = [path for path in sorted((conformance / "ir").iterdir()) if path.name.startswith("bad-") == bad]
    assert len(found) >= (10 if bad else 100)
    return found


def test_every_good_document_is_valid(conformance: Path) -> None:
    wrong = {path.name: [str(f) for f in validate(load_file(path), check_cel)] for path in files(conformance, False)}
    assert {name: findings for name, findings in wrong.items() if findings} == {}


@pytest.mark.parametrize(
    ("name", "path", "part"),
    [
        ("bad-own-default-of-wrong-type.yaml", "root.inputDefinitions.parameters.x.defaultValue", "NUMBER_INTEGER"),
        ("bad-own-missing-component.yaml", "root.dag.tasks.add-one-2.componentRef.name", "comp-nowhere"),
        ("bad-own-missing-executor.yaml", "components.comp-add-one-2.executorLabel", "exec-nowhere"),
        (
            "bad-own-root-output-from-unknown-task.yaml",
            "root.dag.outputs.parameters.Output.valueFromParameter.producerSubtask",
            "nobody",
        ),
        (
            "bad-own-unescaped-quote-in-condition.yaml",
            "root.dag.tasks.condition-1.triggerPolicy.condition",
            "cannot be parsed",
        ),
        ("bad-own-unknown-dependency.yaml", "root.dag.tasks.add-one-3.dependentTasks[1]", "nobody"),
        (
            "bad-own-unknown-output-key.yaml",
            "root.dag.tasks.add-one-2.inputs.parameters.x.taskOutputParameter.outputParameterKey",
            "NoSuchKey",
        ),
        ("bad-up-empty-zip.zip", "", "package"),
        ("bad-up-no-name.yaml", "pipelineInfo.name", "no name"),
        ("bad-up-wrong-format.png", "", "no pipeline"),
    ],
)
def test_bad_documents_are_refused_with_one_finding(conformance: Path, name: str, path: str, part: str) -> None:
    with pytest.raises(InvalidPipeline) as caught:
        load_valid(conformance / "ir" / name)
    assert [finding.path for finding in caught.value.findings] == [path]
    assert part in str(caught.value)


def test_no_bad_document_is_forgotten(conformance: Path) -> None:
    for path in files(conformance, True):
        with pytest.raises(InvalidPipeline):
            load_valid(path)


def without_defaults(value: Any) -> Any:
    """Leave out what protobuf JSON may leave out, except where a default is a value."""
    if isinstance(value, dict):
        pruned = {key: without_defaults(item) for key, item in value.items()}
        keep = ("constant", "defaultValue", "value")
        return {key: item for key, item in pruned.items() if item not in ("", False, None, [], {}) or key in keep}
    if isinstance(value, list):
        return [without_defaults(item) for item in value]
    return value


def test_dump_gives_the_document_back(conformance: Path) -> None:
    for path in files(conformance, False):
        original = [item for item in yaml.safe_load_all(path.read_text()) if item is not None]
        original.sort(key=lambda item: "platforms" in item)
        written = list(yaml.safe_load_all(dump(load_file(path))))
        assert without_defaults(whole_numbers(written)) == without_defaults(whole_numbers(original)), path.name


def test_round_trips_change_nothing(conformance: Path) -> None:
    for path in files(conformance, False):
        pipeline = load_file(path)
        assert not pipeline.extras
        assert loads(dump(pipeline)) == pipeline, path.name
        assert loads(json.dumps(to_json(pipeline))) == pipeline, path.name


def test_arguments_of_every_case(conformance: Path) -> None:
    checked = refused = 0
    for case in json.loads((conformance / "cases.json").read_text())["cases"]:
        if case["name"].startswith("bad-"):
            continue
        pipeline = load_file(conformance / "ir" / case["file"])
        artifacts = {name: Artifact(name, item["uri"]) for name, item in case.get("inputs", {}).items()}
        for run in (case, *case.get("then", [])):
            given = run.get("params", case.get("params") or {})
            values = {
                name: value["$repeat"][0] * value["$repeat"][1]
                if isinstance(value, dict) and "$repeat" in value
                else value
                for name, value in given.items()
            }
            resolved, findings = check_arguments(pipeline, values, artifacts)
            assert bool(findings) == bool(case["expect"].get("error")), (case["name"], findings)
            refused += bool(findings)
            checked += 1
            for name, value in values.items():
                assert findings or resolved[name] == value
    assert checked > 130
    assert refused == 4
