"""The compiled pipeline: valid, lossless, a chain."""

from __future__ import annotations

import pytest

from mlplatform.core.values import ParameterType
from mlplatform.ir.dump import dump
from mlplatform.ir.load import loads
from mlplatform.ir.model import Accelerator, ContainerExecutor, Pipeline
from mlplatform.ir.platform import kubernetes_config
from mlplatform.ir.validate import require_valid
from mlplatform.notebook.convert import convert
from mlplatform.planning.cel import check
from mlplatform.planning.notebook_component import document_of, tasks_of
from tests.support.books import code, md, planned

CELLS = (
    md("# Title"),
    code("import os\nprint('{{$.inputs}}')"),
    code("n = 3  # how many\nname = None", "parameters"),
    md("## Größe"),
    code("a = n"),
    md("## B"),
    code("%time b = a", "limit:memory:2Gi", "limit:cpu:500m", "limit:nvidia.com/gpu:1"),
)


def compiled(*cells: object) -> Pipeline:
    made = convert(planned(*cells))  # type: ignore[arg-type]
    require_valid(made, check)
    assert loads(dump(made)) == made
    return made


def test_a_chain_in_notebook_order() -> None:
    pipeline = compiled(*CELLS)
    dag = pipeline.root.dag
    assert dag is not None
    assert {name: task.dependent_tasks for name, task in dag.tasks.items()} == {
        "title": (),
        "parameters": ("title",),
        "groe": ("parameters",),
        "b": ("groe",),
    }
    assert dag.tasks["groe"].name == "Größe"
    assert [task.position for task in tasks_of(pipeline)] == [0, 1, 2, 3]
    assert tasks_of(pipeline)[0].cells[0].source == CELLS[1]["source"]


def test_parameters_are_the_pipelines() -> None:
    pipeline = compiled(*CELLS)
    specs = pipeline.root.inputs.parameters
    assert {name: (spec.type, spec.default, spec.has_default, spec.is_optional) for name, spec in specs.items()} == {
        "n": (ParameterType.NUMBER_INTEGER, 3, True, True),
        "name": (ParameterType.STRING, None, False, True),
    }
    assert specs["n"].description == "how many"
    assert pipeline.root.dag is not None
    assert {name: sorted(task.parameters) for name, task in pipeline.root.dag.tasks.items()} == {
        "title": [],
        "parameters": ["n", "name"],
        "groe": [],
        "b": [],
    }


def test_what_tags_ask_for() -> None:
    tags = ("step:a", "image:repo/x:1", "limit:memory:2Gi", "limit:nvidia.com/gpu:1", "label:l:1", "cache:disabled")
    pipeline = compiled(code("a = 1", *tags), code("b = 1", "step:b", "annotation:k/x:v"))
    executor = pipeline.executors["exec-a"]
    assert isinstance(executor, ContainerExecutor)
    assert executor.image == "repo/x:1"
    assert executor.resources is not None
    assert (executor.resources.memory_limit, executor.resources.cpu_limit) == ("2Gi", "")
    assert executor.resources.accelerator == Accelerator("nvidia.com/gpu", "1")
    assert pipeline.root.dag is not None
    caching = {name: task.caching.enable_cache for name, task in pipeline.root.dag.tasks.items() if task.caching}
    assert caching == {"a": False, "b": True}
    a, b = (kubernetes_config(pipeline, f"exec-{name}").pod_metadata for name in "ab")
    assert a is not None
    assert b is not None
    assert (dict(a.labels), dict(b.annotations)) == ({"l": "1"}, {"k/x": "v"})


def test_the_notebook_is_kept_without_outputs() -> None:
    ran = code("a = 1")
    ran |= {"outputs": [{"output_type": "stream", "name": "stdout", "text": "secret"}], "execution_count": 7}
    ran["metadata"] = {"execution": {"iopub.status.busy": "2024"}, "tags": []}
    pipeline = compiled(md("# T"), ran)
    document = document_of(pipeline)
    assert document is not None
    assert document["cells"][1] == {**code("a = 1"), "metadata": {"tags": []}}
    assert document["cells"][0]["source"] == "# T"


@pytest.mark.parametrize(
    "entry", [{}, {"config": {}}, {"config": {"notebook": "###"}}, {"config": {"notebook": "YWJj"}}]
)
def test_a_damaged_notebook_in_a_pipeline_is_none(entry: dict[str, object]) -> None:
    pipeline = compiled(code("a = 1"))
    assert document_of(Pipeline("n", pipeline.root, {}, {}, platforms={"mlplatform": entry})) is None


def test_compiling_twice_gives_the_same() -> None:
    assert dump(compiled(*CELLS)) == dump(compiled(*CELLS))
