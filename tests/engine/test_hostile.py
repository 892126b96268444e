"""Whatever a value or a name holds, it arrives as it was given, or is refused with words: never code or a template."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.home import TestHome, home_in
from tests.support.pipelines import Builder

HOSTILE = {
    "quotes": 'it\'s "quoted" `twice` \\ $HOME $(id) ; rm -rf / #',
    "newlines": "one\ntwo\r\nthree\ttab",
    "placeholder": "{{$.inputs.parameters['text']}} {{$}} {{workflow.name}}",
    "json": '{"a": [1, 2.0, null, true]}',
    "number": "007",
    "empty": "",
    "blanks": "  \t ",
    "unicode": "naïve – 日本語 – 🚂 – \u202eright to left – e\u0301",
    "controls": "bell\u0007 escape\u001b[31m nul-free",
    "large": "0123456789abcdef" * 65_536,  # a megabyte
    "yaml": "- a: &x *x !!python/object",
    "path": "../../../../etc/passwd",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestHome]:
    with home_in(tmp_path_factory.mktemp("hostile")) as home:
        yield home


def echo() -> Builder:
    """Each value through a parameter, a task, a loop-free second task and the pipeline's own outputs."""
    builder = Builder("hostile")
    source = "def echo(value: str) -> str:\n    return value\n"
    builder.component("echo", source, inputs={"value": "STRING"}, outputs={"Output": "STRING"})
    for name in HOSTILE:
        builder.root_inputs[name] = {"parameterType": "STRING"}
        builder.task(f"first-{name}", "echo", from_inputs={"value": name}, cache=True)
        builder.task(f"second-{name}", "echo", from_tasks={"value": (f"first-{name}", "Output")}, cache=True)
        builder.output(name, f"second-{name}", "Output", "STRING")
    return builder


def test_values_arrive_as_they_were_given(home: TestHome) -> None:
    parameters = home.folder / "parameters.json"
    parameters.write_text(json.dumps(HOSTILE))
    for state in ("SUCCEEDED", "CACHED"):
        result = home.run(echo(), "--params", str(parameters))
        assert result["state"] == "SUCCEEDED", result["error"]
        assert result["outputs"] == HOSTILE
        assert {task["state"] for task in result["tasks"]} == {state}
    shown = home.json("runs", "show", result["run_id"])
    assert shown["outputs"] == HOSTILE


@pytest.mark.parametrize("name", ["../../escape", "a/b", "naïve", "x" * 5000, "$(id)", "with space", "-rf", "{{$}}"])
def test_names_lead_nowhere(home: TestHome, name: str) -> None:
    """A hostile task name is refused, or its files stay below the home."""
    before = {path for path in home.folder.parent.rglob("*") if home.root not in path.parents}
    builder = Builder("named")
    builder.component("make", "def make() -> int:\n    return 1\n", outputs={"Output": "NUMBER_INTEGER"})
    builder.task(name, "make")
    result = home.run(builder)
    if result.get("state") != "SUCCEEDED":
        assert result["error"]["message"]
        assert "Traceback" not in json.dumps(result)
    after = {path for path in home.folder.parent.rglob("*") if home.root not in path.parents}
    assert {path.name for path in after - before} <= {"named.json"}
