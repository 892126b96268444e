"""Placeholders refuse what Python would do with them silently, naming the user's line and the fix."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest

from mlplatform.core.errors import InvalidPipeline
from tests.unit.sdk.define.test_emit import module_of

HEAD = """
import mlplatform as ml
from mlplatform import dsl


@ml.component
def train(rate: float = 0.1) -> float:
    return rate


@ml.component
def table(rows: int):
    return [rows]


@ml.component
def use(value) -> str:
    return str(value)


@ml.pipeline
def p(rate: float = 0.5, names: list = []):
    acc = train(rate)
"""


def refused(body: str) -> InvalidPipeline:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    with pytest.raises(InvalidPipeline) as caught:
        module_of(HEAD + lines, "traps")
    return caught.value


@pytest.mark.parametrize(
    ("body", "message", "fix"),
    [
        ("if acc > 0.9:\n    use(1)", "`train.output > 0.9` has no value", "with dsl.If(train.output > 0.9)"),
        ("if ml.task(acc).output == 1:\n    use(1)", "`train.output == 1` has no value", "with dsl.If("),
        ("if acc:\n    use(1)", "the output of task 'train' has no value", "with dsl.If("),
        ("while rate < 1:\n    use(1)", "`rate < 1` has no value", "with dsl.If(rate < 1)"),
        ("use(acc > 1 and rate < 2)", "`train.output > 1` has no value", "with dsl.If("),
        ("use(not acc)", "cannot be true or false", "dsl.If"),
        ("for x in names:\n    use(x)", "pipeline parameter 'names' has no value", "dsl.ParallelFor"),
        ("use(len(names))", "cannot be measured", "inside a component"),
        ("use(f'{acc}')", "cannot become text", "make the text there"),
        ("use(f'{acc:.2f}')", "cannot be formatted with '.2f'", "inside a component"),
        ("use('%s' % acc)", "cannot become text", "make the text there"),
        ("use(str(acc))", "cannot become text", "make the text there"),
        ("use(acc + 1)", "cannot be calculated with", "inside a component"),
        ("use(2 * rate)", "cannot be calculated with", "inside a component"),
        ("use(int(acc))", "cannot be a number", "inside a component"),
        ("use(float(acc))", "cannot be a number", "inside a component"),
        ("use([1, 2][acc])", "cannot be a number", "inside a component"),
        ("use(1 in names)", "cannot be searched", "inside a component"),
        ("use(acc in [1, 2])", "`train.output == 1` has no value", "with dsl.If("),
        ("use(acc.mean())", "cannot be asked for .mean", "inside a component"),
        ("use(acc['x'])", "cannot be asked for ['x']", "inside a component"),
        ("a, b = acc", "cannot be looped over", "dsl.ParallelFor"),
        ("with dsl.If(acc):\n    use(1)", "takes a comparison", "== True"),
        ("with dsl.If(1 > 2):\n    use(1)", "already decided", "Compare an output"),
        ("with dsl.If((acc > 1) & (rate < 2)):\n    use(1)", "cannot be joined with &", "Nest one"),
        ("with dsl.ParallelFor(3) as x:\n    use(x)", "loops over a list", "Give a list"),
        ("with dsl.ParallelFor(acc) as x:\n    use(x)", "which is float", "annotated as list"),
        ("with dsl.Else():\n    use(1)", "right after a dsl.If", "directly after"),
        ("use(dsl.Collected(acc))", "is in no dsl.ParallelFor", "dsl.Collected"),
        ("with dsl.If(acc > 1):\n    x = use(1)\nuse(x)", "from outside of a condition", "dsl.OneOf"),
        ("with dsl.ParallelFor([1]) as i:\n    x = use(i)\nuse(x)", "from outside of a loop", "dsl.Collected"),
        ("train('fast')", "it takes float", ""),
        ("train(rte=1)", "unexpected keyword argument 'rte'", "rate: float"),
        ("ml.task(acc).outputs['loss']", "has no output 'loss'", "Output"),
        ("train.options(memory='much')(0.1)", "set_memory", ""),
        ("train.options(timeout='soon')(0.1)", "no duration", "15m"),
    ],
)
def test_what_is_refused(body: str, message: str, fix: str) -> None:
    error = refused(body)
    told = str(error)
    assert message in told
    assert fix in told


def test_the_users_line_is_named() -> None:
    error = refused("x = 1\nif acc > 0.9:\n    use(1)")
    number = HEAD.count("\n") + 2
    assert f"line {number}: if acc > 0.9:" in error.message


def test_a_pipeline_without_tasks() -> None:
    with pytest.raises(InvalidPipeline, match="has no task"):
        module_of("import mlplatform as ml\n\n@ml.pipeline\ndef p(a: int = 1):\n    pass\n", "empty")


def made(text: str) -> types.ModuleType:
    return module_of("import mlplatform as ml\nfrom mlplatform import dsl\n" + text, "made")


def test_what_is_defined_later_is_no_mistake() -> None:
    module = made(
        "@ml.pipeline\ndef p(n: int = 1):\n    later(n)\n\n@ml.component\ndef later(n: int) -> int:\n    return n\n"
    )
    assert "comp-later" in module.p.compile()


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("def f(*numbers: int) -> int: ...", "any number of arguments"),
        ("def f(a: int = 'x') -> int: ...", "is no int"),
        ("def f(Output: int) -> int: ...", "is no name for an argument"),
        ("def f(data: dsl.Input[dsl.Dataset] = 3) -> int: ...", "its default can only be None"),
    ],
)
def test_components_are_checked_where_they_are_defined(signature: str, message: str) -> None:
    with pytest.raises(InvalidPipeline, match=message):
        made(f"@ml.component\n{signature}\n")


def test_kfp_style_wants_annotations_that_kfp_knows() -> None:
    with pytest.raises(InvalidPipeline, match="has no annotation"):
        made("@dsl.component\ndef f(a) -> int: ...\n")
    with pytest.raises(InvalidPipeline, match=r"ml\.component"):
        made("import pathlib\n@dsl.component\ndef f(a: pathlib.Path) -> int: ...\n")


PLAIN = """
@ml.component
def f(a: int, b: int = 2) -> int:
    return a * b

@ml.pipeline
def p(a: int) -> int:
    return f(f(a))
"""


def test_outside_of_pipelines_everything_is_plain_python() -> None:
    module = made(PLAIN)
    function: Callable[..., Any] = module.f
    assert function(3) == 6
    assert function.map([1, 2], b=5) == [5, 10]  # type: ignore[attr-defined]
    assert module.p(1) == 4
    with pytest.raises(InvalidPipeline, match="belongs into a pipeline function"):
        module.dsl.ParallelFor([1])
