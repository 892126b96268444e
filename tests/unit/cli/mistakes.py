"""The commonest mistakes: what somebody types, and the exact text they get (``golden/NAME.txt``).

``docs/mistakes.md`` is made from these (``MLPLATFORM_GOLDEN=write pytest tests/unit/cli/test_mistakes.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.pipelines import Builder

Folder = Path


@dataclass(frozen=True)
class Mistake:
    """``make`` puts files into the working folder; ``command`` is what is typed; ``env`` is added."""

    name: str
    title: str
    command: str
    make: Callable[[Folder], object]
    exit: int = 2
    env: Mapping[str, str] = field(default_factory=dict)
    needs_service: bool = False


ADD = "def add(x: int, name: str, rate: float) -> int:\n    return x\n"


def train() -> Builder:
    """A pipeline with parameters of several types."""
    builder = Builder("train")
    types = {"x": "NUMBER_INTEGER", "name": "STRING", "rate": "NUMBER_DOUBLE"}
    builder.component("add", ADD, inputs=types, outputs={"Output": "NUMBER_INTEGER"})
    builder.task("add", from_inputs={"x": "epochs", "name": "model", "rate": "learning_rate"})
    builder.root_inputs = {
        "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 3},
        "model": {"parameterType": "STRING"},
        "learning_rate": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.1},
    }
    return builder


def document(builder: Builder) -> dict[str, Any]:
    made = builder.document()
    if builder.root_inputs:
        made["root"]["inputDefinitions"] = {"parameters": builder.root_inputs}
    return made


def pipeline(change: Callable[[dict[str, Any]], object] | None = None, builder: Builder | None = None) -> Any:
    """Writes train.json, changed by ``change``."""

    def make(folder: Folder) -> None:
        made = document(builder or train())
        if change is not None:
            change(made)
        (folder / "train.json").write_text(json.dumps(made))

    return make


def write(name: str, text: str | bytes) -> Any:
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def both(*makers: Callable[[Folder], object]) -> Any:
    return lambda folder: [make(folder) for make in makers]


def _cycle(made: dict[str, Any]) -> None:
    tasks = made["root"]["dag"]["tasks"]
    tasks["again"] = {**tasks["add"], "dependentTasks": ["add"]}
    tasks["add"]["dependentTasks"] = ["again"]


def _condition(made: dict[str, Any]) -> None:
    condition = "inputs.parameter_values['x'] > "
    made["root"]["dag"]["tasks"]["add"]["triggerPolicy"] = {"condition": condition}


def _no_executor(made: dict[str, Any]) -> None:
    made["deploymentSpec"]["executors"] = {}


def failing() -> Builder:
    builder = Builder("failing")
    source = "def divide(a: int, b: int) -> float:\n    print('dividing', a, 'by', b)\n    return a / b\n"
    builder.component(
        "divide", source, inputs={"a": "NUMBER_INTEGER", "b": "NUMBER_INTEGER"}, outputs={"Output": "NUMBER_DOUBLE"}
    )
    builder.task("divide", constants={"a": 1, "b": 0})
    return builder


def wanting() -> Builder:
    """A component that asks for a package nobody has."""
    builder = Builder("wanting")
    builder.component("use", "def use():\n    import no_such_thing\n")
    builder.task("use")
    command = builder.executors["exec-use"]["container"]["command"]
    install = "python3 -m pip install --quiet --no-warn-script-location 'no-such-thing-of-mlplatform==1.0'"
    command[2] = command[2].replace(' && "$0" "$@"', f' && {install} && "$0" "$@"')
    return builder


PIPELINE_PY = """from kfp import dsl


@dsl.component(base_image="python:3.11")
def count(text: str) -> int:
    return len(text)


@dsl.pipeline
def short(text: str = "a"):
    count(text=text)


@dsl.pipeline
def long(text: str = "a"):
    count(text=text)
"""
ONE_PY = PIPELINE_PY.rsplit("@dsl.pipeline", 1)[0]
NONE_PY = PIPELINE_PY.split("@dsl.pipeline", 1)[0]
NO_KFP = "raise ModuleNotFoundError(\"No module named 'kfp'\", name='kfp')\n"
IF_PY = ONE_PY.replace(
    "    count(text=text)\n", "    c = count(text=text)\n    if c.output > 3:\n        count(text='long')\n"
)

MISTAKES = [
    Mistake("unknown-parameter", "A parameter that the pipeline does not have",
            "run train.json -p model=a -p learning_rat=0.5", pipeline()),
    Mistake("missing-parameter", "A parameter without a value", "run train.json", pipeline()),
    Mistake("wrong-type", "A value of another type",
            "run train.json -p model=a -p epochs=three -p learning_rate=[1]", pipeline()),
    Mistake("no-value", "-p without a value", "run train.json -p model", pipeline()),
    Mistake("file-not-found", "A file that is not there", "run trian.json", pipeline()),
    Mistake("not-yaml", "A file that is no text", "run picture.yaml",
            write("picture.yaml", b"\x89PNG\r\n\x1a\n\0\0\xff")),
    Mistake("broken-yaml", "YAML with a mistake in it", "run train.yaml",
            write("train.yaml", "pipelineInfo:\n  name: train\n   root: {}\n")),
    Mistake("not-a-pipeline", "Some other document", "run workflow.yaml",
            write("workflow.yaml", "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n")),
    Mistake("no-pipeline", "A .py without a pipeline", "run train.py", write("train.py", NONE_PY)),
    Mistake("several-pipelines", "A .py with several pipelines", "run train.py", write("train.py", PIPELINE_PY)),
    Mistake("own-code-fails", "A .py whose own code fails", "run train.py",
            write("train.py", ONE_PY.replace("count(text=text)", "count(txt=text)"))),
    Mistake("kfp-missing", "A .py where kfp is not installed", "run train.py",
            both(write("train.py", ONE_PY), lambda f: (f / "kfp").mkdir(), write("kfp/__init__.py", NO_KFP)),
            env={"PYTHONPATH": "."}),
    Mistake("python-if", "Python's if on a task's output", "compile train.py", write("train.py", IF_PY), exit=0),
    Mistake("cycle", "Tasks that wait for each other", "run train.json -p model=a", pipeline(_cycle)),
    Mistake("bad-condition", "A condition that is no expression", "run train.json -p model=a", pipeline(_condition)),
    Mistake("missing-executor", "A component without an executor", "run train.json -p model=a", pipeline(_no_executor)),
    Mistake("bad-setup", "A setup file with a wrong key", "run train.json -p model=a --setup setup.json",
            both(pipeline(), write("setup.json", '{"secret": {"a": {"b": "c"}}}'))),
    Mistake("run-not-found", "A run that is not there", "runs show 1zzz --home home", lambda folder: None),
    Mistake("home-not-usable", "A home folder that cannot be made", "run train.json -p model=a --home notes.txt/home",
            both(pipeline(), write("notes.txt", ""))),
    Mistake("engine-missing", "A container engine that is not there", "run train.json -p model=a --containers docker",
            pipeline(), env={"PATH": "/nowhere"}),
    Mistake("unknown-command", "A command that does not exist", "rum train.json", lambda folder: None),
    Mistake("task-fails", "A task that raises an exception", "run failing.json --home home",
            lambda folder: (folder / "failing.json").write_text(failing().text()), exit=1, needs_service=True),
    Mistake("package-missing", "A package that cannot be installed", "run wanting.json --home home --offline",
            lambda folder: (folder / "wanting.json").write_text(wanting().text()), exit=1, needs_service=True),
    Mistake("resume-succeeded", "Resuming what has succeeded", "runs resume latest --home home",
            lambda folder: (folder / "failing.json").write_text(failing().text()), needs_service=True),
    Mistake("train-no-python", "A training script that is no Python", "train train.py --workers 2",
            write("train.py", "from mlplatform import training\nme = training.init(\n")),
    Mistake("train-option", "An option of `train` that is misspelt", "train train.py --worker 2",
            write("train.py", "")),
    Mistake("train-framework", "A framework that is not installed", "train train.py --framework mpi",
            write("train.py", ""), env={"PATH": "/nowhere"}),
]  # fmt: skip
