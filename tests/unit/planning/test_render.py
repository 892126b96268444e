"""Containers, importers and KFP's ExecutorInput."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.core.errors import PlanningError
from mlplatform.core.model import Artifact, Values
from mlplatform.core.values import JsonValue
from mlplatform.ir.model import (
    Accelerator,
    ArtifactType,
    Component,
    ContainerExecutor,
    ImporterExecutor,
    OutputArtifactSpec,
    OutputDefinitions,
    OutputParameterSpec,
    ParameterType,
    Resources,
)
from mlplatform.planning.render import (
    OutputLocations,
    RenderedContainer,
    RunContext,
    executor_input,
    render_container,
    render_importer,
)

COMPONENT = Component(
    outputs=OutputDefinitions(
        {"result": OutputParameterSpec(ParameterType.STRING)},
        {"model": OutputArtifactSpec(ArtifactType("system.Model"), metadata={"framework": "x"})},
    )
)
LOCATIONS = OutputLocations({"result": "/w/result"}, {"model": "/a/model"}, "/w/output.json")
CONTEXT = RunContext("run-1", "job-1", "/root", "train", "train[0]", 0.0, "/ws")
INPUTS = Values(
    {
        "n": 3,
        "f": 0.5,
        "b": True,
        "s": 'te"xt\n',
        "l": [1, "a"],
        "evil": "{{$}} {{$.inputs.parameters['n']}}",
        "empty": "",
    },
    {
        "data": Artifact("d", "gs://b/d", "system.Dataset", {"rows": 7, "deep": {"k": [1]}}),
        "many": (Artifact("x", "/x"), Artifact("y", "/y")),
        "none": (),
    },
)


def render(*args: str, command: tuple[str, ...] = (), **more: object) -> RenderedContainer:
    executor = ContainerExecutor("image:{{$.inputs.parameters['n']}}", command, args, **more)  # type: ignore[arg-type]
    return render_container(executor, INPUTS, COMPONENT, LOCATIONS, CONTEXT)


def p(name: str) -> str:
    return f"{{{{$.inputs.parameters['{name}']}}}}"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (f"--n={p('n')} {p('f')} {p('b')} {p('l')}", '--n=3 0.5 true [1, "a"]'),
        (p("s"), 'te"xt\n'),
        (p("evil"), "{{$}} {{$.inputs.parameters['n']}}"),
        (p("empty"), ""),
        ('{{$.inputs.parameters["n"]}}', "3"),
        ("{{$.inputs.artifacts['data'].uri}} {{$.inputs.artifacts['data'].path}}", "gs://b/d gs://b/d"),
        ("{{$.inputs.artifacts['data'].metadata['rows']}}", "7"),
        ("{{$.inputs.artifacts['data'].metadata['deep']['k']}}", "[1]"),
        ("{{$.inputs.artifacts['many'].uri}}", "/x"),
        ("{{$.outputs.parameters['result'].output_file}}", "/w/result"),
        ("{{$.outputs.artifacts['model'].uri}} {{$.outputs.artifacts['model'].path}}", "/a/model /a/model"),
        ("{{$.outputs.artifacts['model'].metadata['framework']}}", "x"),
        ("{{$.outputs.output_file}}", "/w/output.json"),
        ("{{$.pipeline_job_name}} {{$.pipeline_job_uuid}} {{$.pipeline_task_name}}", "job-1 run-1 train"),
        (
            "{{$.pipeline_job_create_time_utc}} {{$.pipeline_root}} {{$.workspace_path}}",
            "1970-01-01T00:00:00Z /root /ws",
        ),
        ("{{$.inputs.parameters['s'].json_escape[1]}}", 'te\\"xt\\n'),
        ("{{not one}} {{$.unknown}} $& \\1", "{{not one}} {{$.unknown}} $& \\1"),
    ],
)
def test_templates(template: str, expected: str) -> None:
    assert render(template).args == (expected,)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (p("absent"), "input 'absent' was not given"),
        ("{{$.inputs.artifacts['absent'].uri}}", "input 'absent' was not given"),
        ("{{$.inputs.artifacts['none'].uri}}", "empty list of artifacts"),
        ("{{$.inputs.artifacts['data'].metadata['no']}}", "has no metadata 'no'"),
        ("{{$.outputs.parameters['absent'].output_file}}", "there is no output 'absent'"),
        ("{{$.outputs.artifacts['absent'].uri}}", "there is no output 'absent'"),
        ('{"Concat": "x"}', "Concat must be a list"),
    ],
)
def test_placeholders_without_a_value(template: str, reason: str) -> None:
    with pytest.raises(PlanningError) as caught:
        render(template)
    assert reason in caught.value.message


def structure(value: object) -> str:
    return json.dumps(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Concat": ["--n=", p("n"), "!"]}, ("--n=3!",)),
        ({"IfPresent": {"InputName": "n", "Then": ["--n", p("n")]}}, ("--n", "3")),
        ({"IfPresent": {"InputName": "n", "Then": p("n")}}, ("3",)),
        ({"IfPresent": {"InputName": "absent", "Then": ["--x", p("absent")]}}, ()),
        ({"IfPresent": {"InputName": "absent", "Then": "a", "Else": ["b", "c"]}}, ("b", "c")),
        ({"IfPresent": {"InputName": "empty", "Then": "there"}}, ("there",)),
        ({"IfPresent": {"InputName": "data", "Then": "artifact"}}, ("artifact",)),
        (
            {
                "Concat": [
                    "a",
                    {"IfPresent": {"InputName": "n", "Then": {"Concat": ["-", p("n")]}, "Else": "no"}},
                    {"IfPresent": {"InputName": "absent", "Then": "x"}},
                    p("evil"),
                ]
            },
            ("a-3{{$}} {{$.inputs.parameters['n']}}",),
        ),
    ],
)
def test_structures(value: object, expected: tuple[str, ...]) -> None:
    assert render(structure(value)).args == expected


def test_everything_of_a_container_is_rendered() -> None:
    found = render(
        "a",
        command=("sh", p("n")),
        env={"N": p("n"), "PLAIN": "x"},
        resources=Resources("", "{{$.inputs.parameters['n']}}000m", "", "2Gi", Accelerator("nvidia.com/gpu", p("n"))),
    )
    assert found.command == ("sh", "3")
    assert found.env == {"N": "3", "PLAIN": "x"}
    assert found.image == "image:3"
    needs = found.resources
    assert (needs.cpu, needs.memory, needs.gpus, needs.accelerator) == (3.0, 2 * 2**30, 3, "nvidia.com/gpu")


def test_executor_input_is_kfps() -> None:
    expected = {
        "inputs": {
            "parameterValues": {"n": 3},
            "artifacts": {
                "d": {
                    "artifacts": [
                        {"name": "x", "uri": "/x", "type": {"schemaTitle": "system.Dataset"}, "metadata": {"rows": 7}}
                    ]
                },
                "l": {"artifacts": []},
            },
        },
        "outputs": {
            "parameters": {"result": {"outputFile": "/w/result"}},
            "artifacts": {
                "model": {
                    "artifacts": [
                        {
                            "name": "model",
                            "uri": "/a/model",
                            "type": {"schemaTitle": "system.Model"},
                            "metadata": {"framework": "x"},
                        }
                    ]
                }
            },
            "outputFile": "/w/output.json",
        },
    }
    inputs = Values({"n": 3}, {"d": Artifact("x", "/x", "system.Dataset", {"rows": 7}), "l": ()})
    assert executor_input(inputs, COMPONENT, LOCATIONS, CONTEXT) == expected
    executor = ContainerExecutor("i", (), ("{{$}}",))
    rendered = render_container(executor, inputs, COMPONENT, LOCATIONS, CONTEXT)
    assert json.loads(rendered.args[0]) == expected


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


@given(st.text(), json_values)
def test_values_are_never_looked_at_again(text: str, value: JsonValue) -> None:
    inputs = Values({"a": text + "{{$.inputs.parameters['b']}}", "b": value})
    executor = ContainerExecutor("i", (), ("{{$.inputs.parameters['a']}}", "{{$}}"))
    found = render_container(executor, inputs, COMPONENT, LOCATIONS, CONTEXT)
    assert found.args[0] == text + "{{$.inputs.parameters['b']}}"
    assert json.loads(found.args[1])["inputs"]["parameterValues"] == {"a": found.args[0], "b": value}


def test_importers() -> None:
    executor = ImporterExecutor(
        ArtifactType("system.Dataset"),
        uri="gs://{{$.inputs.parameters['s']}}/x",
        metadata={"fixed": "yes", "n": "{{$.inputs.parameters['n']}}", "text": "v{{$.inputs.parameters['n']}}"},
        reimport=True,
    )
    found = render_importer(executor, INPUTS, CONTEXT)
    assert found.uri == 'gs://te"xt\n/x'
    assert found.type == "system.Dataset"
    assert found.metadata == {"fixed": "yes", "n": 3, "text": "v3"}
    assert found.reimport
    assert render_importer(ImporterExecutor(ArtifactType(), uri_parameter="s"), INPUTS, CONTEXT).uri == 'te"xt\n'
    with pytest.raises(PlanningError, match="input 'absent' was not given"):
        render_importer(ImporterExecutor(ArtifactType(), uri_parameter="absent"), INPUTS, CONTEXT)
    with pytest.raises(PlanningError, match="is no text: 3"):
        render_importer(ImporterExecutor(ArtifactType(), uri_parameter="n"), INPUTS, CONTEXT)
