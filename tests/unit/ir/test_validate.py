"""Each thing that can be wrong with a pipeline, with the finding it gives."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from mlplatform.core.errors import InvalidPipeline
from mlplatform.ir.load import loads
from mlplatform.ir.validate import require_valid, validate

Document = dict[str, Any]
ROOT = "root.dag.tasks"


def check_expression(text: str) -> str | None:
    return "it has one quote too many" if text.count("'") % 2 else None


def validated(document: Document, platforms: Document | None = None) -> list[tuple[str, str]]:
    documents = [document] if platforms is None else [document, {"platforms": platforms}]
    pipeline = loads(yaml.safe_dump_all(documents))
    return [(finding.path, finding.code) for finding in validate(pipeline, check_expression)]


def test_the_document_is_valid(document: Document) -> None:
    assert validated(document) == []
    require_valid(loads(json.dumps(document)), check_expression)


def task(document: Document, name: str) -> Document:
    return document["root"]["dag"]["tasks"][name]


def put(path: str, value: Any) -> Callable[[Document], None]:
    """Set a field; ``/`` separates keys."""

    def change(document: Document) -> None:
        *parents, last = path.split("/")
        place: Any = document
        for step in parents:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        place[int(last) if isinstance(place, list) else last] = value

    return change


def remove(path: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        *parents, last = path.split("/")
        place: Any = document
        for step in parents:
            place = place[step]
        del place[last]

    return change


T = "root/dag/tasks"
EXEC = "deploymentSpec/executors/exec-make/container"
DEPLOY = "deploymentSpec.executors.exec-make.container"

MISTAKES: list[tuple[Callable[[Document], None], list[tuple[str, str]]]] = [
    (put("pipelineInfo/name", ""), [("pipelineInfo.name", "missing")]),
    (put("pipelineInfo/name", "a\nb"), [("pipelineInfo.name", "invalid-value")]),
    (remove("schemaVersion"), [("schemaVersion", "missing")]),
    (put("schemaVersion", "3.0.0"), [("schemaVersion", "unsupported")]),
    (put("bogus", 1), [("bogus", "unknown-field")]),
    (put(f"{T}/make/bogus", 1), [(f"{ROOT}.make.bogus", "unknown-field")]),
    (put(f"{T}/make/inputs/parameters/n/bogus", 1), [(f"{ROOT}.make.inputs.parameters.n.bogus", "unknown-field")]),
    (
        put("deploymentSpec/executors/exec-make", {"customJob": {"customJob": {}}}),
        [("deploymentSpec.executors.exec-make.customJob", "unsupported")],
    ),
    (
        put("deploymentSpec/executors/exec-make", {"resolver": {}}),
        [("deploymentSpec.executors.exec-make.resolver", "unsupported")],
    ),
    # components
    (put(f"{T}/make/componentRef/name", "comp-mkae"), [(f"{ROOT}.make.componentRef.name", "unknown-name")]),
    (put(f"{T}/loop/componentRef", {}), [(f"{ROOT}.loop.componentRef.name", "missing")]),
    (put("components/comp-use/executorLabel", "exec-no"), [("components.comp-use.executorLabel", "unknown-name")]),
    (remove("components/comp-use/executorLabel"), [("components.comp-use", "missing")]),
    (put("components/comp-loop/dag/tasks/make/componentRef/name", "comp-loop"), [
        ("components", "recursive"),
        ("components.comp-loop.dag.tasks.make.inputs.parameters.n", "unknown-name"),
        ("components.comp-loop.dag.tasks.make.inputs.parameters", "missing"),
        ("components.comp-loop.dag.outputs.parameters.made.valueFromParameter.outputParameterKey", "unknown-name"),
    ]),
    (put("components/comp-use/singlePlatformSpecs", [{"platform": "x"}]), [
        ("components.comp-use.singlePlatformSpecs", "unsupported")
    ]),
    (put("components/comp-use/taskConfigPassthroughs", [
        {"field": "ENV", "applyToTask": True}, {"field": "EVN", "applyToTask": "yes", "bogus": 1}, {}
    ]), [
        ("components.comp-use.taskConfigPassthroughs[1].field", "unknown-name"),
        ("components.comp-use.taskConfigPassthroughs[1].applyToTask", "wrong-type"),
        ("components.comp-use.taskConfigPassthroughs[1].bogus", "unknown-field"),
    ]),
    (remove("root/dag"), [("root.dag", "missing")]),
    (put("components/comp-loop/dag", {}), [
        ("components.comp-loop.dag", "missing"),
        ("components.comp-loop.dag.outputs.parameters", "missing"),
    ]),
    # tasks and their edges
    (put(f"{T}/use/dependentTasks", ["mkae"]), [(f"{ROOT}.use.dependentTasks[0]", "unknown-name")]),
    (put(f"{T}/make/dependentTasks", ["use"]), [(ROOT, "cycle")]),
    (put(f"{T}/make/dependentTasks", ["make"]), [(ROOT, "cycle")]),
    (put(f"{T}/use/inputs/parameters/n/taskOutputParameter/producerTask", "no"), [
        (f"{ROOT}.use.inputs.parameters.n.taskOutputParameter.producerTask", "unknown-name")
    ]),
    (put(f"{T}/use/inputs/parameters/n/taskOutputParameter/outputParameterKey", "output"), [
        (f"{ROOT}.use.inputs.parameters.n.taskOutputParameter.outputParameterKey", "unknown-name")
    ]),
    (put(f"{T}/use/inputs/artifacts/data/taskOutputArtifact/outputArtifactKey", "date"), [
        (f"{ROOT}.use.inputs.artifacts.data.taskOutputArtifact.outputArtifactKey", "unknown-name")
    ]),
    (put(f"{T}/use/inputs/artifacts/data", {"componentInputArtifact": "data"}), [
        (f"{ROOT}.use.inputs.artifacts.data.componentInputArtifact", "unknown-name")
    ]),
    (put(f"{T}/make/inputs/parameters/n", {"componentInputParameter": "m"}), [
        (f"{ROOT}.make.inputs.parameters.n.componentInputParameter", "unknown-name")
    ]),
    (put(f"{T}/make/inputs/parameters/n", {"taskFinalStatus": {"producerTask": "no"}}), [
        (f"{ROOT}.make.inputs.parameters.n.taskFinalStatus.producerTask", "unknown-name"),
        (f"{ROOT}.make.inputs.parameters.n", "wrong-type"),
    ]),
    (remove(f"{T}/make/inputs/parameters/n"), [
        (f"{ROOT}.make.inputs.parameters.note.runtimeValue.constant", "unknown-name"),
        (f"{ROOT}.make.inputs.parameters", "missing"),
    ]),
    (remove(f"{T}/use/inputs/artifacts/data"), [(f"{ROOT}.use.inputs.artifacts", "missing")]),
    (put(f"{T}/loop/inputs", {"parameters": {"surplus": {"runtimeValue": {"constant": 1}}}}), [
        (f"{ROOT}.loop.inputs.parameters.surplus", "unknown-name")
    ]),
    (put(f"{T}/use/inputs/artifacts/surplus", {
        "taskOutputArtifact": {"producerTask": "make", "outputArtifactKey": "data"}
    }), [
        (f"{ROOT}.use.inputs.artifacts.surplus", "unknown-name")
    ]),
    # types
    (put("root/inputDefinitions/parameters/n/defaultValue", "3"), [
        ("root.inputDefinitions.parameters.n.defaultValue", "wrong-type")
    ]),
    (put("root/inputDefinitions/parameters/n/defaultValue", 3.5), [
        ("root.inputDefinitions.parameters.n.defaultValue", "wrong-type")
    ]),
    (put("root/inputDefinitions/parameters/n/literals", [1, "a"]), [
        ("root.inputDefinitions.parameters.n.defaultValue", "invalid-value"),
        ("root.inputDefinitions.parameters.n.literals[1]", "wrong-type"),
    ]),
    (put(f"{T}/make/inputs/parameters/n", {"runtimeValue": {"constant": "three"}}), [
        (f"{ROOT}.make.inputs.parameters.n.runtimeValue.constant", "wrong-type")
    ]),
    (put(f"{T}/make/inputs/parameters/n", {"runtimeValue": {"constant": True}}), [
        (f"{ROOT}.make.inputs.parameters.n.runtimeValue.constant", "wrong-type")
    ]),
    (put(f"{T}/make/inputs/parameters/n", {"componentInputParameter": "flag"}), [
        (f"{ROOT}.make.inputs.parameters.n", "wrong-type")
    ]),
    (put("components/comp-make/outputDefinitions/parameters/Output/parameterType", "STRING"), [
        ("root.dag.outputs.parameters.result.valueFromParameter", "wrong-type"),
        (f"{ROOT}.use.inputs.parameters.n", "wrong-type"),
    ]),
    (put("components/comp-make/outputDefinitions/artifacts/data/artifactType/schemaTitle", "system.Model"), [
        (f"{ROOT}.use.inputs.artifacts.data", "wrong-type")
    ]),
    (put("components/comp-use/inputDefinitions/artifacts/data/isArtifactList", True), [
        (f"{ROOT}.use.inputs.artifacts.data", "wrong-type")
    ]),
    (put(f"{T}/use/inputs/parameters/n/taskOutputParameter", {"producerTask": "loop", "outputParameterKey": "made"}), [
        (f"{ROOT}.use.inputs.parameters.n", "wrong-type")
    ]),
    # loops, conditions, retries
    (put(f"{T}/loop/parameterIterator/itemInput", "itme"), [
        (f"{ROOT}.loop.parameterIterator.itemInput", "unknown-name"),
        (f"{ROOT}.loop.inputs.parameters", "missing"),
    ]),
    (put(f"{T}/loop/parameterIterator/items", {"raw": "{}"}), [
        (f"{ROOT}.loop.parameterIterator.items.raw", "wrong-type")
    ]),
    (put(f"{T}/loop/parameterIterator/items", {"raw": "[1,"}), [
        (f"{ROOT}.loop.parameterIterator.items.raw", "wrong-type")
    ]),
    (put(f"{T}/loop/parameterIterator/items", {}), [(f"{ROOT}.loop.parameterIterator.items.raw", "missing")]),
    (put(f"{T}/loop/parameterIterator/items", {"inputParameter": "x"}), [
        (f"{ROOT}.loop.parameterIterator.items.inputParameter", "unknown-name")
    ]),
    (put(f"{T}/make/parameterIterator", {"itemInput": "n", "items": {"raw": "[1]"}}), [
        (f"{ROOT}.make", "unsupported"),
        ("root.dag.outputs.parameters.result.valueFromParameter", "wrong-type"),
        (f"{ROOT}.use.inputs.parameters.n", "wrong-type"),
    ]),
    (put(f"{T}/loop/iteratorPolicy/parallelismLimit", -1), [
        (f"{ROOT}.loop.iteratorPolicy.parallelismLimit", "invalid-value")
    ]),
    (put(f"{T}/use/retryPolicy/maxRetryCount", -1), [(f"{ROOT}.use.retryPolicy.maxRetryCount", "invalid-value")]),
    (put(f"{T}/use/triggerPolicy/condition", "inputs.parameter_values['n'] == 'it's'"), [
        (f"{ROOT}.use.triggerPolicy.condition", "bad-expression")
    ]),
    (put(f"{T}/use/triggerPolicy/condition", "inputs.parameter_values['m'] == 3"), [
        (f"{ROOT}.use.triggerPolicy.condition", "unknown-name")
    ]),
    (put(f"{T}/use/inputs/parameters/n/parameterExpressionSelector", "parseJson(string_value)['a"), [
        (f"{ROOT}.use.inputs.parameters.n.parameterExpressionSelector", "bad-expression")
    ]),
    # outputs
    (put("root/dag/outputs/parameters/result/valueFromParameter/producerSubtask", "no"), [
        ("root.dag.outputs.parameters.result.valueFromParameter.producerSubtask", "unknown-name")
    ]),
    (put("root/dag/outputs/parameters/result", {"valueFromOneof": {"parameterSelectors": [
        {"producerSubtask": "make", "outputParameterKey": "no"}
    ]}}), [
        ("root.dag.outputs.parameters.result.valueFromOneof.parameterSelectors[0].outputParameterKey", "unknown-name")
    ]),
    (put("root/dag/outputs/parameters/result", {"valueFromOneof": {}}), [
        ("root.dag.outputs.parameters.result", "missing")
    ]),
    (remove("root/dag/outputs"), [("root.dag.outputs.parameters", "missing")]),
    (remove("root/outputDefinitions"), [("root.dag.outputs.parameters.result", "unknown-name")]),
    (put("root/dag/outputs/artifacts", {
        "d": {"artifactSelectors": [{"producerSubtask": "make", "outputArtifactKey": "x"}]}
    }), [
        ("root.dag.outputs.artifacts.d", "unknown-name"),
        ("root.dag.outputs.artifacts.d.artifactSelectors[0].outputArtifactKey", "unknown-name"),
    ]),
    # placeholders and executors
    (put(f"{T}/make/inputs/parameters/note/runtimeValue/constant", "{{$.inputs.parameters['m']}}"), [
        (f"{ROOT}.make.inputs.parameters.note.runtimeValue.constant", "unknown-name")
    ]),
    (put(f"{T}/make/inputs/parameters/note/runtimeValue/constant", "{{$.bogus}}"), [
        (f"{ROOT}.make.inputs.parameters.note.runtimeValue.constant", "bad-placeholder")
    ]),
    (put(f"{T}/make/inputs/parameters/note/runtimeValue/constant", "{{$.outputs.parameters['Output'].output_file}}"), [
        (f"{ROOT}.make.inputs.parameters.note.runtimeValue.constant", "bad-placeholder")
    ]),
    (put(f"{EXEC}/image", ""), [(f"{DEPLOY}.image", "missing")]),
    (put(f"{EXEC}/command/1", "{{$.inputs.parameters['m']}}"), [(f"{DEPLOY}.command[1]", "unknown-name")]),
    (put(f"{EXEC}/command/1", "{{$.inputs.artifacts['n'].path}}"), [(f"{DEPLOY}.command[1]", "unknown-name")]),
    (put(f"{EXEC}/command/1", "{{$.outputs.parameters['n'].output_file}}"), [(f"{DEPLOY}.command[1]", "unknown-name")]),
    (put(f"{EXEC}/command/1", "{{$.inputs.parameters['n'].uri}}"), [(f"{DEPLOY}.command[1]", "bad-placeholder")]),
    (put(f"{EXEC}/command/1", "a\0b"), [(f"{DEPLOY}.command[1]", "invalid-value")]),
    (put(f"{EXEC}/args/0", '{"IfPresent": {"InputName": "no", "Then": "x"}}'), [(f"{DEPLOY}.args[0]", "unknown-name")]),
    (put(f"{EXEC}/args/0", '{"IfPresent": {"InputName": "n"}}'), [(f"{DEPLOY}.args[0]", "bad-placeholder")]),
    (put(f"{EXEC}/args/0", '{"Concat": ["{{$.inputs.parameters[\'no\']}}"]}'), [(f"{DEPLOY}.args[0]", "unknown-name")]),
    (put(f"{EXEC}/env/0/name", "A=B"), [(f"{DEPLOY}.env[0].name", "invalid-value")]),
    (put(f"{EXEC}/env/0/value", "{{$.outputs.artifacts['no'].uri}}"), [(f"{DEPLOY}.env[0].value", "unknown-name")]),
    (put(f"{EXEC}/resources", {"accelerator": {"resourceCount": "{{$.inputs.parameters['no']}}"}}), [
        (f"{DEPLOY}.resources.accelerator.resourceCount", "unknown-name")
    ]),
    (put("deploymentSpec/executors/exec-make", {"importer": {"artifactUri": {"runtimeParameter": "no"}}}), [
        ("deploymentSpec.executors.exec-make.importer.artifactUri.runtimeParameter", "unknown-name")
    ]),
    (put("deploymentSpec/executors/exec-make", {"importer": {
        "artifactUri": {"constant": ""}, "metadata": {"a": ["{{$.inputs.parameters['no']}}"]}
    }}), [
        ("deploymentSpec.executors.exec-make.importer.artifactUri", "missing"),
        ("deploymentSpec.executors.exec-make.importer.metadata.a[0]", "unknown-name"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), MISTAKES)
def test_mistakes(document: Document, change: Callable[[Document], None], expected: list[tuple[str, str]]) -> None:
    change(document)
    assert sorted(validated(document)) == sorted(expected)


@pytest.mark.parametrize(
    ("change"),
    [
        put(f"{T}/make/inputs/parameters/n", {"runtimeValue": {"constant": 2.0}}),
        put(f"{T}/make/inputs/parameters/n", {"runtimeValue": {"constant": "{{$.inputs.parameters['note']}}"}}),
        put(f"{T}/make/inputs/parameters/note/runtimeValue", {"constant": None}),
        put("components/comp-make/inputDefinitions/parameters/n/parameterType", "NUMBER_DOUBLE"),
        put("components/comp-use/inputDefinitions/artifacts/data/artifactType/schemaTitle", "system.Artifact"),
        put(f"{T}/make/inputs/parameters/extra", {"componentInputParameter": "flag"}),
        put(f"{EXEC}/args", ["--function_to_execute", "f"]),
        put("schemaVersion", "2.0.0"),
        put("root/inputDefinitions/parameters/n/defaultValue", None),
        put("components/comp-make/inputDefinitions/parameters/config", {"parameterType": "TASK_CONFIG"}),
        put("root/outputDefinitions/parameters/result/parameterType", "LIST"),
    ],
)
def test_what_is_allowed(document: Document, change: Callable[[Document], None]) -> None:
    change(document)
    assert validated(document) == []


def test_python_source_is_not_a_template(document: Document) -> None:
    container = document["deploymentSpec"]["executors"]["exec-make"]["container"]
    container["command"] = ["sh", "-ec", "run", "def f():\n    return \"{{$.inputs.parameters['nothing']}} {{$.x}}\"\n"]
    container["args"] = ["--executor_input", "{{$}}", "--function_to_execute", "f"]
    assert validated(document) == []
    container["args"].append("{{$.x}}")
    assert validated(document) == [(f"{DEPLOY}.args[4]", "bad-placeholder")]


def test_everything_is_reported_at_once(document: Document) -> None:
    for change in (put("pipelineInfo/name", ""), put(f"{T}/use/dependentTasks", ["x"]), put(f"{EXEC}/image", "")):
        change(document)
    with pytest.raises(InvalidPipeline, match=r"this\.yaml is not a pipeline") as caught:
        require_valid(loads(json.dumps(document)), origin="this.yaml")
    assert len(caught.value.findings) == 3


def test_hints_name_what_was_probably_meant(document: Document) -> None:
    task(document, "use")["dependentTasks"] = ["maek"]
    task(document, "loop")["componentRef"] = {"name": "nothing like it"}
    hints = [finding.hint for finding in validate(loads(json.dumps(document)))]
    assert hints == ["did you mean 'make'?", "there is 'comp-loop', 'comp-make', 'comp-use'"]


@pytest.mark.parametrize(
    ("platforms", "expected"),
    [
        ({"kubernetes": {"deploymentSpec": {"executors": {"exec-make": {}}}}}, []),
        ({"vertex": {}}, [("platforms.vertex", "unsupported")]),
        ({"kubernetes": {"config": {"a": 1}}}, [("platforms.kubernetes.config", "unsupported")]),
        ({"kubernetes": {"bogus": 1}}, [("platforms.kubernetes.bogus", "unknown-field")]),
        (
            {"kubernetes": {"pipelineConfig": {"workspace": {}, "bogus": 1}}},
            [
                ("platforms.kubernetes.pipelineConfig.bogus", "unknown-field"),
                ("platforms.kubernetes.pipelineConfig.workspace", "missing"),
            ],
        ),
        (
            {"kubernetes": {"deploymentSpec": {"executors": {"exec-maek": {}}}}},
            [("platforms.kubernetes.deploymentSpec.executors.exec-maek", "unknown-name")],
        ),
        (
            {
                "kubernetes": {
                    "deploymentSpec": {
                        "executors": {
                            "exec-use": {
                                "pvcMount": [
                                    {"mountPath": "/a", "pvcNameParameter": {"componentInputParameter": "n"}},
                                    {"mountPath": "/b", "pvcNameParameter": {"componentInputParameter": "no"}},
                                    {
                                        "mountPath": "/c",
                                        "taskOutputParameter": {"producerTask": "no", "outputParameterKey": "x"},
                                    },
                                    {"mountPath": "/d", "pvcNameParameter": {"componentInputParameter": "flag"}},
                                ]
                            }
                        }
                    }
                }
            },
            [
                ("platforms.kubernetes.deploymentSpec.executors.exec-use.pvcMount[0]", "wrong-type"),
                (
                    "platforms.kubernetes.deploymentSpec.executors.exec-use.pvcMount[1].componentInputParameter",
                    "unknown-name",
                ),
                (
                    "platforms.kubernetes.deploymentSpec.executors.exec-use.pvcMount[2].taskOutputParameter.producerTask",
                    "unknown-name",
                ),
            ],
        ),
    ],
)
def test_platforms(document: Document, platforms: Document, expected: list[tuple[str, str]]) -> None:
    assert validated(document, platforms) == expected


def test_a_claim_made_by_a_task_that_waits_for_its_user_is_a_cycle(document: Document) -> None:
    source = {"taskOutputParameter": {"producerTask": "use", "outputParameterKey": "claim"}}
    document["components"]["comp-use"]["outputDefinitions"] = {"parameters": {"claim": {"parameterType": "STRING"}}}
    mount = {"mountPath": "/a", "pvcNameParameter": source}
    platforms = {"kubernetes": {"deploymentSpec": {"executors": {"exec-make": {"pvcMount": [mount]}}}}}
    assert (ROOT, "cycle") in validated(document, platforms)


def chain(length: int) -> Document:
    tasks: Document = {}
    for index in range(length):
        source: Document = {"runtimeValue": {"constant": 1}}
        if index:
            source = {"taskOutputParameter": {"producerTask": f"t{index - 1}", "outputParameterKey": "Output"}}
        tasks[f"t{index}"] = {"componentRef": {"name": "c"}, "inputs": {"parameters": {"x": source}}}
    integer = {"parameterType": "NUMBER_INTEGER"}
    return {
        "pipelineInfo": {"name": "chain"},
        "schemaVersion": "2.1.0",
        "components": {
            "c": {
                "executorLabel": "e",
                "inputDefinitions": {"parameters": {"x": integer}},
                "outputDefinitions": {"parameters": {"Output": integer}},
            }
        },
        "deploymentSpec": {"executors": {"e": {"container": {"image": "i"}}}},
        "root": {"dag": {"tasks": tasks}},
    }


def test_time_is_linear_in_tasks() -> None:
    def seconds(length: int) -> float:
        text = json.dumps(chain(length))
        start = time.process_time()
        assert validate(loads(text), check_expression) == ()
        return time.process_time() - start

    seconds(100)
    small, large = seconds(1000), seconds(10_000)
    assert large < small * 10 * 5  # far from the 100 times of quadratic time


def test_a_pipeline_of_many_mistakes_has_a_bounded_report() -> None:
    document = chain(3000)
    for item in document["root"]["dag"]["tasks"].values():
        item["dependentTasks"] = ["nobody"]
    found = validate(loads(json.dumps(document)))
    assert len(found) == 1001
    assert found[-1].message == "and 2000 more of these"


def test_deeply_nested_components() -> None:
    document = chain(1)
    name = "c"
    for depth in range(3000):
        document["components"][f"d{depth}"] = {
            "dag": {"tasks": {"t": {"componentRef": {"name": name}, "inputs": {}}}},
        }
        name = f"d{depth}"
    document["components"]["d0"]["dag"]["tasks"]["t"]["inputs"] = {
        "parameters": {"x": {"runtimeValue": {"constant": 1}}}
    }
    document["root"]["dag"]["tasks"] = {"t": {"componentRef": {"name": name}}}
    assert validate(loads(json.dumps(document))) == ()
