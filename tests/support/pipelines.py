"""Small pipelines as IR documents, written by hand so that tests of the engine need no kfp to make them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

KFP_VERSION = "2.17.0"

_INSTALL = f"""
if ! [ -x "$(command -v pip)" ]; then
    python3 -m ensurepip || python3 -m ensurepip --user || apt-get install python3-pip
fi

PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --quiet --no-warn-script-location 'kfp=={KFP_VERSION}' \
'--no-deps' 'typing-extensions>=3.7.4,<5; python_version<"3.9"' && "$0" "$@"
"""

_GAP = " " * 25

_RUN = f"""program_path=$(mktemp -d)

printf "%s" "$0" > "$program_path/ephemeral_component.py"
_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main{_GAP}\
--component_module_path{_GAP}"$program_path/ephemeral_component.py"{_GAP}"$@"
"""

_HEADER = "\nimport kfp\nfrom kfp import dsl\nfrom kfp.dsl import *\nfrom typing import *\n\n"


def executor(source: str, function: str) -> dict[str, Any]:
    """A lightweight Python component's executor, as kfp's compiler writes it."""
    return {
        "container": {
            "image": "python:3.11",
            "command": ["sh", "-c", _INSTALL, "sh", "-ec", _RUN, _HEADER + textwrap.dedent(source) + "\n"],
            "args": ["--executor_input", "{{$}}", "--function_to_execute", function],
        }
    }


class Builder:
    """Collects components and tasks of one pipeline document."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.components: dict[str, Any] = {}
        self.executors: dict[str, Any] = {}
        self.tasks: dict[str, Any] = {}
        self.root_inputs: dict[str, Any] = {}
        self.root_outputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}

    def component(
        self,
        name: str,
        source: str,
        *,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        artifacts_in: Mapping[str, str] | None = None,
        artifacts_out: Mapping[str, str] | None = None,
        function: str = "",
    ) -> None:
        """Add a Python component; inputs and outputs by name and type."""
        component: dict[str, Any] = {"executorLabel": f"exec-{name}"}
        definitions: dict[str, Any] = {}
        if inputs:
            definitions["parameters"] = {k: {"parameterType": v} for k, v in inputs.items()}
        if artifacts_in:
            definitions["artifacts"] = {k: _artifact(v) for k, v in artifacts_in.items()}
        if definitions:
            component["inputDefinitions"] = definitions
        definitions = {}
        if outputs:
            definitions["parameters"] = {k: {"parameterType": v} for k, v in outputs.items()}
        if artifacts_out:
            definitions["artifacts"] = {k: _artifact(v) for k, v in artifacts_out.items()}
        if definitions:
            component["outputDefinitions"] = definitions
        self.components[f"comp-{name}"] = component
        self.executors[f"exec-{name}"] = executor(source, function or name.replace("-", "_"))

    def task(
        self,
        name: str,
        component: str = "",
        *,
        constants: Mapping[str, Any] | None = None,
        from_tasks: Mapping[str, tuple[str, str]] | None = None,
        artifacts: Mapping[str, tuple[str, str]] | None = None,
        from_inputs: Mapping[str, str] | None = None,
        after: Sequence[str] = (),
        cache: bool = False,
        retries: int = 0,
        into: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Add a task to the root (or to the DAG ``into``)."""
        parameters: dict[str, Any] = {k: {"runtimeValue": {"constant": v}} for k, v in (constants or {}).items()}
        depends = set(after)
        for key, (producer, output) in (from_tasks or {}).items():
            parameters[key] = {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": output}}
            depends.add(producer)
        for key, source in (from_inputs or {}).items():
            parameters[key] = {"componentInputParameter": source}
        inputs: dict[str, Any] = {}
        if parameters:
            inputs["parameters"] = parameters
        if artifacts:
            inputs["artifacts"] = {
                k: {"taskOutputArtifact": {"producerTask": p, "outputArtifactKey": o}}
                for k, (p, o) in artifacts.items()
            }
            depends |= {p for p, _ in artifacts.values()}
        body: dict[str, Any] = {
            "componentRef": {"name": f"comp-{component or name}"},
            "taskInfo": {"name": name},
            "cachingOptions": {"enableCache": True} if cache else {},
        }
        if inputs:
            body["inputs"] = inputs
        if depends:
            body["dependentTasks"] = sorted(depends)
        if retries:
            body["retryPolicy"] = {"maxRetryCount": retries, "backoffDuration": "0s"}
        (self.tasks if into is None else into)[name] = body
        return body

    def loop(
        self, name: str, items: Sequence[Any], tasks: Mapping[str, Any], collect: tuple[str, str] | None = None
    ) -> None:
        """Add a ParallelFor over static items; its tasks read ``item``; ``collect`` names (task, output) to gather."""
        component: dict[str, Any] = {
            "dag": {"tasks": dict(tasks)},
            "inputDefinitions": {"parameters": {"item": {"parameterType": "NUMBER_INTEGER"}}},
        }
        if collect:
            task, output = collect
            component["dag"]["outputs"] = {
                "parameters": {
                    "collected": {"valueFromParameter": {"producerSubtask": task, "outputParameterKey": output}}
                }
            }
            component["outputDefinitions"] = {"parameters": {"collected": {"parameterType": "NUMBER_INTEGER"}}}
        self.components[f"comp-{name}"] = component
        self.tasks[name] = {
            "componentRef": {"name": f"comp-{name}"},
            "taskInfo": {"name": name},
            "parameterIterator": {"itemInput": "item", "items": {"raw": json.dumps(list(items))}},
        }

    def output(self, name: str, task: str, key: str, type_: str) -> None:
        """Make a task's output parameter an output of the pipeline."""
        self.outputs[name] = {"valueFromParameter": {"producerSubtask": task, "outputParameterKey": key}}
        self.root_outputs[name] = {"parameterType": type_}

    def document(self) -> dict[str, Any]:
        root: dict[str, Any] = {"dag": {"tasks": self.tasks}}
        if self.outputs:
            root["dag"]["outputs"] = {"parameters": self.outputs}
            root["outputDefinitions"] = {"parameters": self.root_outputs}
        if self.root_inputs:
            root["inputDefinitions"] = {"parameters": self.root_inputs}
        return {
            "pipelineInfo": {"name": self.name},
            "components": self.components,
            "deploymentSpec": {"executors": self.executors},
            "root": root,
            "schemaVersion": "2.1.0",
            "sdkVersion": f"kfp-{KFP_VERSION}",
        }

    def text(self) -> str:
        return json.dumps(self.document())


def _artifact(title: str) -> dict[str, Any]:
    return {"artifactType": {"schemaTitle": title, "schemaVersion": "0.0.1"}}


ADD_ONE = "def add_one(x: int) -> int:\n    return x + 1\n"


def chain(length: int, *, cache: bool = False, name: str = "chain") -> Builder:
    """``length`` tasks, each adding one to the one before; output ``last``."""
    builder = Builder(name)
    builder.component("add-one", ADD_ONE, inputs={"x": "NUMBER_INTEGER"}, outputs={"Output": "NUMBER_INTEGER"})
    for index in range(length):
        before = {"x": (f"t{index - 1}", "Output")} if index else None
        builder.task(f"t{index}", "add-one", constants=None if index else {"x": 0}, from_tasks=before, cache=cache)
    builder.output("last", f"t{length - 1}", "Output", "NUMBER_INTEGER")
    return builder


def fan_out(width: int, *, cache: bool = False, name: str = "fan-out") -> Builder:
    """One loop of ``width`` trivial tasks."""
    builder = Builder(name)
    builder.component("add-one", ADD_ONE, inputs={"x": "NUMBER_INTEGER"}, outputs={"Output": "NUMBER_INTEGER"})
    inner: dict[str, Any] = {}
    builder.task("add-one", from_inputs={"x": "item"}, cache=cache, into=inner)
    builder.loop("for-loop-1", range(width), inner)
    return builder


def mixed(log: str) -> Builder:
    """Thirty tasks of all sorts: a chain, a loop, artifacts, a retry that succeeds, an exit task; each appends its name
    to the file ``log`` when its body begins, so that running twice can be seen. Outputs: ``total``, ``words`` and
    ``last``; ``count`` logs a metric."""
    builder = Builder("mixed")
    note = f"    with open({log!r}, 'a') as f:\n        f.write(%r + '\\n')\n"
    add = "def add_one(x: int, name: str) -> int:\n" + note.replace("%r", "name") + "    return x + 1\n"
    builder.component(
        "add-one", add, inputs={"x": "NUMBER_INTEGER", "name": "STRING"}, outputs={"Output": "NUMBER_INTEGER"}
    )
    for index in range(8):
        before = {"x": (f"t{index - 1}", "Output")} if index else None
        constants: dict[str, Any] = {"name": f"t{index}"}
        if not index:
            constants["x"] = 0
        builder.task(f"t{index}", "add-one", constants=constants, from_tasks=before, cache=index % 2 == 0)
    square = "def square(item: int) -> int:\n" + note.replace("%r", "f'square{item}'") + "    return item * item\n"
    builder.component("square", square, inputs={"item": "NUMBER_INTEGER"}, outputs={"Output": "NUMBER_INTEGER"})
    inner: dict[str, Any] = {}
    builder.task("square", from_inputs={"item": "item"}, into=inner)
    builder.loop("for-loop-1", range(16), inner, collect=("square", "Output"))
    builder.components["comp-for-loop-1"]["outputDefinitions"]["parameters"]["collected"]["parameterType"] = "LIST"
    total = "def total(xs: list) -> int:\n" + note.replace("%r", "'total'") + "    return sum(xs)\n"
    builder.component("total", total, inputs={"xs": "LIST"}, outputs={"Output": "NUMBER_INTEGER"})
    builder.task("total", from_tasks={"xs": ("for-loop-1", "collected")})
    write = (
        "def write(text: str, out: Output[Dataset]):\n"
        + note.replace("%r", "'write'")
        + "    with open(out.path, 'w') as f:\n        f.write(text)\n    out.metadata['n'] = len(text)\n"
    )
    builder.component("write", write, inputs={"text": "STRING"}, artifacts_out={"out": "system.Dataset"})
    builder.task("write", constants={"text": "some words here"}, cache=True)
    count = (
        "def count(data: Input[Dataset], seen: Output[Metrics]) -> int:\n"
        + note.replace("%r", "'count'")
        + "    with open(data.path) as f:\n        words = len(f.read().split())\n"
        + "    seen.log_metric('words', words)\n    return words\n"
    )
    builder.component(
        "count",
        count,
        artifacts_in={"data": "system.Dataset"},
        artifacts_out={"seen": "system.Metrics"},
        outputs={"Output": "NUMBER_INTEGER"},
    )
    builder.task("count", artifacts={"data": ("write", "out")}, cache=True)
    flaky = (
        "def flaky(marker: str) -> int:\n"
        "    import os\n"
        "    if not os.path.exists(marker):\n"
        "        open(marker, 'w').close()\n"
        "        raise RuntimeError('first time')\n" + note.replace("%r", "'flaky'") + "    return 1\n"
    )
    builder.component("flaky", flaky, inputs={"marker": "STRING"}, outputs={"Output": "NUMBER_INTEGER"})
    builder.task("flaky", constants={"marker": log + ".marker"}, retries=3)
    last = "def last(a: int, b: int) -> int:\n" + note.replace("%r", "'last'") + "    return a + b\n"
    builder.component(
        "last", last, inputs={"a": "NUMBER_INTEGER", "b": "NUMBER_INTEGER"}, outputs={"Output": "NUMBER_INTEGER"}
    )
    builder.task("last", from_tasks={"a": ("flaky", "Output"), "b": ("t7", "Output")})
    bye = "def bye():\n" + note.replace("%r", "'bye'")
    builder.component("bye", bye)
    task = builder.task("bye", after=["last"])
    task["triggerPolicy"] = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    builder.output("total", "total", "Output", "NUMBER_INTEGER")
    builder.output("words", "count", "Output", "NUMBER_INTEGER")
    builder.output("last", "last", "Output", "NUMBER_INTEGER")
    return builder


#: What :func:`mixed` gives, and the names it writes to its log, each once.
MIXED_OUTPUTS = {"total": sum(i * i for i in range(16)), "words": 3, "last": 9}
MIXED_NAMES = sorted(
    [f"t{i}" for i in range(8)]
    + [f"square{i}" for i in range(16)]
    + ["total", "write", "count", "flaky", "last", "bye"]
)
