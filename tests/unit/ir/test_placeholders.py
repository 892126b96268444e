"""Templates and argument structures."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.core.errors import InvalidPipeline
from mlplatform.ir.placeholders import (
    RUN_FIELDS,
    Concat,
    IfPresent,
    Reference,
    RefKind,
    Segment,
    Template,
    Text,
    parse,
    parse_structure,
    structure_names,
    structure_references,
    unknown_placeholders,
    whole_reference,
)

IN_P, IN_A = RefKind.INPUT_PARAMETER, RefKind.INPUT_ARTIFACT
OUT_P, OUT_A = RefKind.OUTPUT_PARAMETER, RefKind.OUTPUT_ARTIFACT


@pytest.mark.parametrize(
    ("text", "kind", "name", "field", "keys", "escape"),
    [
        ("{{$}}", RefKind.EXECUTOR_INPUT, "", "", (), 0),
        ("{{$.json_escape[1]}}", RefKind.EXECUTOR_INPUT, "", "", (), 1),
        ("{{$.inputs.parameters['x']}}", IN_P, "x", "", (), 0),
        ('{{$.inputs.parameters["x"]}}', IN_P, "x", "", (), 0),
        ("{{$.inputs.parameters[''x'']}}", IN_P, "x", "", (), 0),
        ('{{$.inputs.parameters[\\"x\\"]}}', IN_P, "x", "", (), 0),
        (
            "{{$.inputs.parameters['pipelinechannel--a b-Output'].json_escape[2]}}",
            IN_P,
            "pipelinechannel--a b-Output",
            "",
            (),
            2,
        ),
        ("{{$.inputs.artifacts['a']}}", IN_A, "a", "", (), 0),
        ("{{$.inputs.artifacts['a'].path}}", IN_A, "a", "path", (), 0),
        ("{{$.inputs.artifacts['a'].uri}}", IN_A, "a", "uri", (), 0),
        ("{{$.inputs.artifacts['a'].name}}", IN_A, "a", "name", (), 0),
        ("{{$.inputs.artifacts['a'].metadata}}", IN_A, "a", "metadata", (), 0),
        ("{{$.inputs.artifacts['a'].metadata['k']['l m']}}", IN_A, "a", "metadata", ("k", "l m"), 0),
        ("{{$.outputs.parameters['o'].output_file}}", OUT_P, "o", "output_file", (), 0),
        ("{{$.outputs.artifacts['o'].uri}}", OUT_A, "o", "uri", (), 0),
        ("{{$.outputs.artifacts['o'].metadata['k']}}", OUT_A, "o", "metadata", ("k",), 0),
        ("{{$.outputs.artifacts['o']}}", OUT_A, "o", "", (), 0),
        *((f"{{{{$.{name}}}}}", RefKind.RUN, name, "", (), 0) for name in sorted(RUN_FIELDS)),
    ],
)
def test_every_form(text: str, kind: RefKind, name: str, field: str, keys: tuple[str, ...], escape: int) -> None:
    reference = Reference(kind, name, field, keys, escape, text)
    assert parse(text) == (reference,)
    assert whole_reference(text) == reference
    assert parse(f"a {text}{text} b") == (Text("a "), reference, reference, Text(" b"))
    assert whole_reference(f"{text} ") is None
    assert unknown_placeholders(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "{{$.bogus}}",
        "{{$.inputs.parameters['x'].uri}}",
        "{{$.inputs.parameters['x'].output_file}}",
        "{{$.outputs.parameters['x']}}",
        "{{$.inputs.artifacts['x'].path['k']}}",
        "{{$.inputs.artifacts['x'].size}}",
        "{{$.inputs.parameters[x]}}",
        "{{$.inputs.parameters['x'}}",
        "{{$.inputs}}",
        "{{$ }}",
        "{{$.",
        "{{$",
    ],
)
def test_what_only_looks_like_one_stays_text(text: str) -> None:
    assert parse(f"<{text}>") == (Text(f"<{text}>"),)
    assert unknown_placeholders(f"<{text}>") in ((text,), (f"{text}>",))


def joined(segments: tuple[Segment, ...]) -> str:
    return "".join(segment.text for segment in segments)


@given(
    st.lists(
        st.sampled_from(["{{$", "}}", ".inputs", ".parameters", "['x']", "{{$}}", "'", "é\n", "{", ".uri", "[", "]"])
    )
)
def test_nothing_is_lost(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert joined(parse(text)) == text


@given(st.text())
def test_text_without_placeholders_is_one_segment(text: str) -> None:
    if "{{$" not in text:
        assert parse(text) == (Text(text),)


@pytest.mark.parametrize(
    "piece", ["{{$.inputs.parameters['", "{{$.a", "{{$." + "a." * 40, "{{$.inputs.artifacts['a'].metadata['b']"]
)
def test_time_grows_with_length(piece: str) -> None:
    def seconds(count: int) -> float:
        start = time.process_time()
        parse(piece * count)
        return time.process_time() - start

    seconds(1000)
    small, large = max(seconds(2_000), 1e-4), seconds(40_000)
    assert large < small * 20 * 8  # far from the 400 times of quadratic time


def test_structures() -> None:
    inner = {"Concat": ["x=", "{{$.inputs.parameters['a']}}", {"IfPresent": {"InputName": "b", "Then": "!"}}]}
    text = json.dumps({"IfPresent": {"InputName": "a", "Then": ["--a", inner], "Else": ["none"]}})
    a = Reference(IN_P, "a", text="{{$.inputs.parameters['a']}}")
    structure = parse_structure(text)
    assert structure == IfPresent(
        "a",
        (
            Template((Text("--a"),)),
            Concat((Template((Text("x="),)), Template((a,)), IfPresent("b", (Template((Text("!"),)),)))),
        ),
        (Template((Text("none"),)),),
    )
    assert list(structure_references(structure)) == [a]
    assert list(structure_names(structure)) == ["a", "b"]
    assert parse_structure("plain") == Template((Text("plain"),))
    assert parse_structure('{"a": {"Concat": []}}') == Template((Text('{"a": {"Concat": []}}'),))
    assert parse_structure('{"Concat": []}') == Concat(())


@pytest.mark.parametrize(
    "text",
    [
        '{"Concat": "x"}',
        '{"Concat": [1]}',
        '{"Concat": [["a"]]}',
        '{"Concat": ["a"], "b": 1}',
        '{"Concat": ["a"',
        '{"IfPresent": []}',
        '{"IfPresent": {"InputName": "a"}}',
        '{"IfPresent": {"InputName": 1, "Then": "x"}}',
        '{"IfPresent": {"InputName": "a", "Then": "x", "Otherwise": "y"}}',
        '{"Concat": [' * 100_000,
        '{"Concat": [' * 80 + '"a"' + "]}" * 80,
    ],
)
def test_malformed_structures(text: str) -> None:
    with pytest.raises(InvalidPipeline, match="not a well-formed"):
        parse_structure(text)
