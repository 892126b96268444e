"""Loading: spellings, older fields, wrappers, and what is said about documents that are wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlplatform.core.errors import InvalidPipeline, NotFound
from mlplatform.core.values import ParameterType
from mlplatform.ir.load import load_file, loads
from mlplatform.ir.model import (
    Accelerator,
    ArtifactSource,
    CachingOptions,
    ContainerExecutor,
    ImporterExecutor,
    ParameterIterator,
    ParameterSource,
    Resources,
    RetryPolicy,
    TriggerStrategy,
)
from mlplatform.ir.reading import snake


def findings(text: str | bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidPipeline) as caught:
        loads(text)
    return [(finding.path, finding.code) for finding in caught.value.findings]


def to_snake(value: Any, free: bool = False) -> Any:
    """Every field name in snake case; names of tasks and the like have no capitals."""
    if isinstance(value, dict):
        return {snake(key) if key not in ("Output",) else key: to_snake(item) for key, item in value.items()}
    return [to_snake(item) for item in value] if isinstance(value, list) else value


def test_every_field_lands_where_it_belongs(document: dict[str, Any]) -> None:
    pipeline = loads(yaml.safe_dump(document))
    assert (pipeline.name, pipeline.schema_version, pipeline.sdk_version) == ("two-tasks", "2.1.0", "kfp-2.17.0")
    n = pipeline.root.inputs.parameters["n"]
    assert (n.type, n.default, type(n.default), n.has_default, n.is_optional) == (
        ParameterType.NUMBER_INTEGER,
        3,
        int,
        True,
        True,
    )
    assert pipeline.root.dag is not None
    make, use, loop = (pipeline.root.dag.tasks[name] for name in ("make", "use", "loop"))
    assert make.caching == CachingOptions(enable_cache=True)
    assert make.parameters["note"].has_constant
    assert use.parameters["n"] == ParameterSource(producer_task="make", output_parameter="Output")
    assert use.artifacts["data"] == ArtifactSource(producer_task="make", output_artifact="data")
    assert use.retry == RetryPolicy(2, 1.5, 2, None)
    assert use.condition == "inputs.parameter_values['n'] == 3"
    assert use.caching is None
    assert loop.parameter_iterator == ParameterIterator("item", "", "[1, 2, 3]")
    assert loop.parallelism_limit == 2
    executor = pipeline.executors["exec-make"]
    assert isinstance(executor, ContainerExecutor)
    assert executor.env == {"OUT": "{{$.outputs.artifacts['data'].path}}"}
    assert pipeline.extras == {}


def test_yaml_json_and_snake_case_are_the_same(document: dict[str, Any]) -> None:
    pipeline = loads(yaml.safe_dump(document))
    assert loads(json.dumps(document)) == pipeline
    assert loads(json.dumps(document).encode("utf-16")) == pipeline
    assert loads(b"\xef\xbb\xbf" + json.dumps(document).encode()) == pipeline
    assert loads(yaml.safe_dump(to_snake(document))) == pipeline
    assert loads("\n\n " + yaml.safe_dump(document, default_flow_style=True).strip()) == pipeline


def test_older_spellings(document: dict[str, Any]) -> None:
    make = document["components"]["comp-make"]
    make["inputDefinitions"]["parameters"] = {"n": {"type": "INT"}, "note": {"type": "STRING"}, "x": {"type": 2}}
    make["outputDefinitions"]["artifacts"]["data"]["properties"] = {"a": {"constantValue": {"stringValue": "b"}}}
    parameters = document["root"]["dag"]["tasks"]["make"]["inputs"]["parameters"]
    parameters["n"] = {"runtimeValue": {"constantValue": {"intValue": "7"}}}
    parameters["note"] = {"runtimeValue": {"runtimeParameter": "flag"}}
    parameters["x"] = {"runtimeValue": {"constantValue": {"doubleValue": 0.5}}}
    document["root"]["dag"]["tasks"]["use"]["triggerPolicy"]["strategy"] = 2
    document["deploymentSpec"]["executors"]["exec-make"]["container"]["resources"] = {
        "cpuLimit": 2.0,
        "memoryLimit": 0.5,
        "accelerator": {"type": "NVIDIA_TESLA_K80", "count": "1"},
    }
    pipeline = loads(json.dumps(document))
    types = {name: spec.type.value for name, spec in pipeline.components["comp-make"].inputs.parameters.items()}
    assert types == {"n": "NUMBER_INTEGER", "note": "STRING", "x": "NUMBER_DOUBLE"}
    assert pipeline.components["comp-make"].outputs.artifacts["data"].properties == {"a": "b"}
    assert pipeline.root.dag is not None
    sources = pipeline.root.dag.tasks["make"].parameters
    assert sources["n"] == ParameterSource(constant=7, has_constant=True)
    assert sources["note"] == ParameterSource(runtime_parameter="flag")
    assert sources["x"] == ParameterSource(constant=0.5, has_constant=True)
    assert pipeline.root.dag.tasks["use"].strategy is TriggerStrategy.ALL_UPSTREAM_TASKS_COMPLETED
    executor = pipeline.executors["exec-make"]
    assert isinstance(executor, ContainerExecutor)
    assert executor.resources == Resources(
        cpu_limit="2", memory_limit="0.5G", accelerator=Accelerator("NVIDIA_TESLA_K80", "1")
    )


def test_whole_numbers_of_constants_are_integers(document: dict[str, Any]) -> None:
    constant = {"constant": {"a": 2.0, "b": [1.0, 1.5], "c": "2.0"}}
    document["root"]["dag"]["tasks"]["make"]["inputs"]["parameters"]["n"] = {"runtimeValue": constant}
    parameters = document["root"]["inputDefinitions"]["parameters"]
    parameters["d"] = {"parameterType": "NUMBER_DOUBLE", "defaultValue": 2}
    parameters["l"] = {"parameterType": "LIST", "defaultValue": [2.0]}
    pipeline = loads(yaml.safe_dump(document))
    assert pipeline.root.dag is not None
    assert repr(pipeline.root.dag.tasks["make"].parameters["n"].constant) == "{'a': 2, 'b': [1, 1.5], 'c': '2.0'}"
    assert repr(pipeline.root.inputs.parameters["d"].default) == "2.0"
    assert repr(pipeline.root.inputs.parameters["l"].default) == "[2]"


def test_null_is_unset_except_for_values(document: dict[str, Any]) -> None:
    document["root"]["inputDefinitions"]["parameters"]["n"]["defaultValue"] = None
    document["root"]["dag"]["tasks"]["make"]["cachingOptions"] = None
    note = document["root"]["dag"]["tasks"]["make"]["inputs"]["parameters"]["note"]
    note["runtimeValue"] = {"constant": None}
    pipeline = loads(json.dumps(document))
    assert pipeline.root.inputs.parameters["n"].has_default
    assert pipeline.root.dag is not None
    assert pipeline.root.dag.tasks["make"].caching is None
    assert pipeline.root.dag.tasks["make"].parameters["note"].has_constant


def test_importer(document: dict[str, Any]) -> None:
    importer = {
        "artifactUri": {"constant": "gs://bucket/x"},
        "typeSchema": {"schemaTitle": "system.Dataset"},
        "reimport": True,
        "metadata": {"rows": 3.0},
        "downloadToWorkspace": True,
    }
    document["deploymentSpec"]["executors"]["exec-make"] = {"importer": importer}
    executor = loads(json.dumps(document)).executors["exec-make"]
    assert isinstance(executor, ImporterExecutor)
    assert (executor.uri, executor.reimport, executor.download_to_workspace) == ("gs://bucket/x", True, True)
    assert repr(executor.metadata) == "{'rows': 3}"


def test_platforms_before_or_after(document: dict[str, Any]) -> None:
    platforms = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}}}}
    after = loads(yaml.safe_dump_all([document, platforms]))
    assert after.platforms == platforms["platforms"]
    assert loads(yaml.safe_dump_all([platforms, document])) == after
    assert loads(json.dumps({"pipeline_spec": document, "platform_spec": platforms})) == after
    assert findings(yaml.safe_dump(platforms)) == [("", "missing")]
    assert findings(yaml.safe_dump_all([document, platforms, platforms])) == [("", "conflict")]
    assert findings(yaml.safe_dump_all([document, document])) == [("", "conflict")]


def test_pipeline_job(document: dict[str, Any]) -> None:
    job = {
        "name": "job",
        "displayName": "a job",
        "labels": {"team": "x"},
        "pipelineSpec": document,
        "runtimeConfig": {
            "gcsOutputDirectory": "gs://out",
            "parameterValues": {"n": 4.0},
            "parameters": {"flag": {"stringValue": "on"}},
        },
    }
    pipeline = loads(json.dumps(job))
    assert pipeline.job is not None
    assert (pipeline.job.name, pipeline.job.labels) == ("job", {"team": "x"})
    assert repr(pipeline.job.parameter_values) == "{'n': 4, 'flag': 'on'}"
    assert pipeline.job.gcs_output_directory == "gs://out"
    job["runtimeConfig"] = {"bogus": 1}
    document["pipelineInfo"]["name"] = 5
    assert findings(json.dumps(job)) == [
        ("runtimeConfig.bogus", "unknown-field"),
        ("pipelineSpec.pipelineInfo.name", "wrong-type"),
    ]


def test_unknown_fields_are_kept_by_their_path(document: dict[str, Any]) -> None:
    document["root"]["dag"]["tasks"]["make"]["bogus"] = {"a": 1}
    document["deploymentSpec"]["executors"]["exec-use"] = {"customJob": {"customJob": {}}}
    document["components"]["comp.dotted"] = {"executorLabel": "exec-use", "surplus": [1]}
    pipeline = loads(json.dumps(document))
    assert pipeline.extras == {
        "root.dag.tasks.make.bogus": {"a": 1},
        "deploymentSpec.executors.exec-use.customJob": {"customJob": {}},
        'components["comp.dotted"].surplus': [1],
    }
    assert loads(yaml.safe_dump(to_snake(document))).extras.keys() >= {"root.dag.tasks.make.bogus"}


def test_every_mistake_is_reported_at_once_as_it_was_written() -> None:
    text = """
pipeline_info: {name: 3}
schemaVersion: 2.1
root:
  dag:
    tasks:
      a:
        componentRef: comp-a
        dependent_tasks: b
        cachingOptions: {enableCache: maybe}
        retryPolicy: {maxRetryCount: 1.5, backoffDuration: 3 minutes}
        inputs:
          parameters:
            p: {}
            q: {componentInputParameter: x, runtimeValue: {constant: 1}}
            r: {runtimeValue: {}}
          artifacts:
            s: {}
      b: [1]
    outputs:
      parameters:
        o: {}
  inputDefinitions:
    parameters:
      u: {}
      v: {parameterType: FLOAT}
      w: {type: BOOL}
deploymentSpec: {executors: {e: {}, f: {container: {image: 1, command: echo, env: [{name: A, value: 1}]}}}}
"""
    assert set(findings(text)) == {
        ("pipeline_info.name", "wrong-type"),
        ("schemaVersion", "wrong-type"),
        ("root.dag.tasks.a.componentRef", "wrong-type"),
        ("root.dag.tasks.a.dependent_tasks", "wrong-type"),
        ("root.dag.tasks.a.cachingOptions.enableCache", "wrong-type"),
        ("root.dag.tasks.a.retryPolicy.maxRetryCount", "wrong-type"),
        ("root.dag.tasks.a.retryPolicy.backoffDuration", "wrong-type"),
        ("root.dag.tasks.a.inputs.parameters.p", "missing"),
        ("root.dag.tasks.a.inputs.parameters.q", "conflict"),
        ("root.dag.tasks.a.inputs.parameters.r.runtimeValue", "missing"),
        ("root.dag.tasks.a.inputs.artifacts.s", "missing"),
        ("root.dag.tasks.b", "wrong-type"),
        ("root.dag.outputs.parameters.o", "missing"),
        ("root.inputDefinitions.parameters.u", "missing"),
        ("root.inputDefinitions.parameters.v.parameterType", "wrong-type"),
        ("root.inputDefinitions.parameters.w.type", "wrong-type"),
        ("deploymentSpec.executors.e", "missing"),
        ("deploymentSpec.executors.f.container.image", "wrong-type"),
        ("deploymentSpec.executors.f.container.command", "wrong-type"),
        ("deploymentSpec.executors.f.container.env[0].value", "wrong-type"),
    }


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n", "Kubernetes object (Workflow)"),
        ("name: x\nimplementation: {container: {}}\n", "component of KFP 1"),
        ("a: 1\n", "not a pipeline"),
        ("- 1\n", "expected a pipeline"),
        ("just text", "expected a pipeline"),
        ("", "nothing"),
        ("# only a comment", "nothing"),
        ("null", "nothing"),
        ("{}", "not a pipeline"),
        ('{"pipelineSpec": 5}', "expected a pipeline"),
    ],
)
def test_other_things_are_named(text: str, word: str) -> None:
    with pytest.raises(InvalidPipeline, match=word.replace("(", r"\(").replace(")", r"\)")) as caught:
        loads(text, origin="some.yaml")
    assert str(caught.value).startswith("some.yaml ")


def test_both_spellings_of_one_field() -> None:
    assert findings('{"pipelineInfo": {"name": "a"}, "pipeline_info": {"name": "b"}, "root": {}}') == [
        ("pipeline_info", "duplicate-key")
    ]


def test_files(tmp_path: Path, document: dict[str, Any]) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(document))
    assert load_file(path) == load_file(str(path)) == loads(path.read_text())
    with pytest.raises(NotFound, match="No such file"):
        load_file(tmp_path / "absent.yaml")
    with pytest.raises(NotFound, match="directory"):
        load_file(tmp_path)
    with pytest.raises(NotFound):
        load_file("a\0b")


def test_importing_is_light() -> None:
    code = "import sys, mlplatform.ir.load, mlplatform.ir.dump, mlplatform.ir.validate\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "mlplatform.ir.model" in loaded
    assert not {"yaml", "kfp", "google.protobuf", "tarfile", "zipfile", "msgspec", "difflib", "cel"} & set(loaded)
