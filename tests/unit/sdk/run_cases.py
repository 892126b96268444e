"""Pipelines for tests of the run object. Tasks that must still run wait for a file: no test sleeps and hopes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mlplatform.engine.home import Home
from mlplatform.sdk import submit
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.run import Run
from tests.support.pipelines import Builder

NUMBER = {"Output": "NUMBER_INTEGER"}
WAIT = (
    "def wait(x: int, gate: str) -> int:\n"
    "    import os, time\n"
    "    print('waiting for', os.path.basename(gate), flush=True)\n"
    "    while not os.path.exists(gate):\n        time.sleep(0.02)\n"
    "    return x + 1\n"
)


def start(home: Home, builder: Builder, folder: Path, **options: Any) -> Run:
    """Start a pipeline from a file of its own in ``folder``."""
    path = folder / f"{builder.name}.json"
    path.write_text(builder.text())
    source = submit.read_source(str(path))
    client = LocalClient(home)
    return Run(home, client.submit(submit.build(source, {}, submit.Options(**options))))


def gated(gate: Path, name: str = "gated") -> Builder:
    """load -> wait (until the file ``gate`` is there) -> double."""
    builder = Builder(name)
    load = "def load(n: int) -> int:\n    print('loading', n)\n    return n * 2\n"
    builder.component("load", load, inputs={"n": "NUMBER_INTEGER"}, outputs=NUMBER)
    builder.component("wait", WAIT, inputs={"x": "NUMBER_INTEGER", "gate": "STRING"}, outputs=NUMBER)
    double = "def double_it(x: int) -> int:\n    return x * 2\n"
    builder.component("double-it", double, inputs={"x": "NUMBER_INTEGER"}, outputs=NUMBER, function="double_it")
    builder.task("load", constants={"n": 3})
    builder.task("wait", from_tasks={"x": ("load", "Output")}, constants={"gate": os.fspath(gate)})
    builder.task("double-it", from_tasks={"x": ("wait", "Output")})
    builder.output("result", "double-it", "Output", "NUMBER_INTEGER")
    return builder


def failing(name: str = "failing", *, mended: bool = False, factor: int = 2, comment: str = "") -> Builder:
    """load, side; prepare(load) -> divide(prepare), which fails unless ``mended``."""
    builder = Builder(name)
    load = f"def load(n: int) -> int:\n    return n * {factor}\n"
    builder.component("load", load, inputs={"n": "NUMBER_INTEGER"}, outputs=NUMBER)
    side = (
        f"def side(n: int) -> int:\n    {comment}\n    return n\n"
        if comment
        else "def side(n: int) -> int:\n    return n\n"
    )
    builder.component("side", side, inputs={"n": "NUMBER_INTEGER"}, outputs=NUMBER)
    prepare = (
        "def prepare(x: int, data: Output[Dataset], m: Output[Metrics]):\n    open(data.path, 'w').write(str(x))\n"
    )
    prepare += "    data.metadata['rows'] = x\n    m.log_metric('accuracy', 0.9375)\n"
    builder.component(
        "prepare", prepare, inputs={"x": "NUMBER_INTEGER"},
        artifacts_out={"data": "system.Dataset", "m": "system.Metrics"},
    )  # fmt: skip
    divide = "def divide(data: Input[Dataset], by: int) -> int:\n    text = open(data.path).read()\n"
    divide += "    print('text', text)\n"
    divide += f"    return int(text) // {'max(by, 1)' if mended else 'by'}\n"
    builder.component(
        "divide", divide, inputs={"by": "NUMBER_INTEGER"}, artifacts_in={"data": "system.Dataset"}, outputs=NUMBER
    )
    builder.task("load", constants={"n": 3})
    builder.task("side", constants={"n": 1})
    builder.task("prepare", from_tasks={"x": ("load", "Output")})
    builder.task("divide", constants={"by": 0}, artifacts={"data": ("prepare", "data")})
    builder.output("result", "divide", "Output", "NUMBER_INTEGER")
    return builder


def looped() -> Builder:
    """A loop over three numbers whose last iteration fails until the file's text is mended."""
    builder = Builder("looped")
    square = "def square(item: int) -> int:\n    print('item', item)\n    return item * item\n"
    builder.component("square", square, inputs={"item": "NUMBER_INTEGER"}, outputs=NUMBER)
    inner: dict[str, Any] = {}
    builder.task("square", from_inputs={"item": "item"}, into=inner)
    builder.loop("for-loop-1", [1, 2, 3], inner)
    return builder
