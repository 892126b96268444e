"""Reading text: what YAML and JSON say, and everything hostile they can say."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplatform.core.errors import InvalidPipeline
from mlplatform.ir import limits, yamltree
from mlplatform.ir.documents import read_documents


def refused(text: str | bytes) -> list[str]:
    with pytest.raises(InvalidPipeline) as caught:
        read_documents(text)
    assert caught.value.findings
    return [str(finding) for finding in caught.value.findings]


@pytest.fixture(params=["c", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both of PyYAML's parsers."""
    if request.param == "python":
        monkeypatch.setattr(yaml, "__with_libyaml__", False)
    elif not yaml.__with_libyaml__:
        pytest.skip("PyYAML was built without libyaml")
    return request.param


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("Off", False),
        ("~", None),
        ("", None),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0b11", 3),
        ("012", 10),
        ("-0", 0),
        ("+3", 3),
        ("089", "089"),
        ("1.", 1.0),
        ("-.5", "-.5"),
        (".5", 0.5),
        ("1.5e+3", 1500.0),
        ("1e5", "1e5"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("0b_", "0b_"),
        ("=", "="),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("!!float 1", 1.0),
        ("! 1", "1"),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_scalars(parser: str, text: str, value: Any) -> None:
    (found,) = read_documents(f"x: {text}")
    assert found == {"x": value}
    assert type(found["x"]) is type(value)


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
@settings(deadline=None, max_examples=300)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert read_documents(yaml.safe_dump({"x": value})) == [{"x": value}]
    assert read_documents(yaml.dump({"x": value}, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))) == [
        {"x": value}
    ]
    assert read_documents(json.dumps({"x": value})) == [{"x": value}]
    assert read_documents(json.dumps({"x": value}, ensure_ascii=False, indent=1)) == [{"x": value}]


@given(st.text(alphabet="0123456789_+-.:eExXbBoainfNAyYsS ~'\"", max_size=12))
@settings(deadline=None, max_examples=500)
def test_plain_scalars_agree_with_pyyaml(text: str) -> None:
    """Except for dates and base 60, which stay text."""
    try:
        expected = yaml.safe_load(f"- {text}")
        (found,) = read_documents(f"- {text}")
    except (yaml.YAMLError, ValueError, InvalidPipeline):
        return
    if isinstance(expected, list) and not isinstance(expected[0], date) and ":" not in text:
        assert found == expected


def test_aliases_and_merge_keys(parser: str) -> None:
    text = "a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [*a, {z: 4}]}\n"
    assert read_documents(text) == [
        {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3}, "d": {"x": 1, "y": 2, "z": 4}}
    ]


def test_several_documents(parser: str) -> None:
    assert read_documents("a: &x 1\n---\nb: 2\n---\n") == [{"a": 1}, {"b": 2}, None]
    assert "names nothing" in refused("a: &x 1\n---\nb: *x\n")[0]


def test_mistakes_are_collected_with_their_lines(parser: str) -> None:
    text = "a: 1\na: 2\n3: x\n? [1]\n: y\nb:\n- .nan\n- !!python/name:os.system x\n- !!int x\n- {c: 1, c: 2}\n"
    text += "<<: 4\nd: {<<: [5]}\n"
    found = refused(text)
    assert [line.split(" (line")[0] for line in found] == [
        "a: the key appears twice in one mapping",
        "keys must be text, not 3",
        "keys must be text, not a list or mapping",
        "b[0]: .nan is not a number that JSON can say",
        "b[1]: the tag tag:yaml.org,2002:python/name:os.system is not allowed",
        "b[2]: 'x' is not of the type its tag says",
        "b[3].c: the key appears twice in one mapping",
        "d: '<<' takes a mapping or a list of mappings",
    ]
    assert "(line 8)" in found[4]


@pytest.mark.parametrize("inside", ["[", "{a: ", "- ", "? ", '{"a":', "a:\n"])
@pytest.mark.parametrize("depth", [limits.MAX_DEPTH + 1, 100_000])
def test_deep_nesting(parser: str, inside: str, depth: int) -> None:
    text = "".join(" " * i + inside for i in range(min(depth, 300))) if inside == "a:\n" else inside * depth
    found = refused(text)
    assert any("nested deeper" in line or "not valid YAML" in line for line in found)


def test_depth_through_aliases(parser: str) -> None:
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [[[*a{i - 1}]]]\n" for i in range(1, 200))
    assert "nested deeper" in refused(text)[0]
    fine = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 100))
    assert len(read_documents(fine)[0]) == 100


def test_alias_bombs(parser: str) -> None:
    bomb = "a: &a [" + "x," * 9 + "]\n"
    for letter, before in zip("bcdefghij", "abcdefghi", strict=True):
        bomb += f"{letter}: &{letter} [" + f"*{before}," * 9 + "]\n"
    assert "values, aliases counted" in refused(bomb)[0]
    assert "stands inside what it names" in refused("a: &a [*a]")[0]
    assert "stands inside what it names" in refused("a: &a {b: *a}")[0]
    assert refused("&a *a")
    assert "stands inside" in refused("a: &a 1\nb: &a [*a]\n")[0]


def test_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamltree, "MAX_NODES", 1000)
    assert "values" in refused("- a\n" * 1001)[0]
    monkeypatch.setattr("mlplatform.ir.documents.MAX_NODES", 1000)
    assert "values" in refused(json.dumps({"a": list(range(1001))}))[0]


def test_large_text() -> None:
    assert "96 MiB" in refused(b"a" * (96 << 20))[0]
    assert "at most 32 MiB" in refused("x" * (100 << 20))[0]


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"\x80abc", b"a\x00\xff", b"\xfe\xff\xd8", "\ud800", b"\xc3"])
def test_not_text(text: bytes | str) -> None:
    assert "is not UTF-8" in refused(text)[0]


@pytest.mark.parametrize(
    "text", ["\0", "a: \x01", "\x7f\x00", "{\0}", "[}", "{a", "%YAML 9\n---\n", "a: b: c", "*", "@", "\t- x: y"]
)
def test_not_yaml(parser: str, text: str) -> None:
    assert "not valid YAML" in refused(text)[0]


@pytest.mark.parametrize(
    "text", ['{"a": "\\ud800"}', '"\\udfff x"', '{"\\ud83d": 1}', '{"a": "\\ud83d\\ud83d\\ude00"}']
)
def test_lone_surrogates(parser: str, text: str) -> None:
    assert refused(text)


def test_surrogate_pairs_are_text() -> None:
    assert read_documents('{"a": "\\ud83d\\ude00"}') == [{"a": "\U0001f600"}]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"a": {"b": NaN}}', "a.b"),
        ('{"a": [1, -Infinity]}', "a[1]"),
        ('{"a": 1e999}', "a"),
        ('{"a": {"b": 1, "b": 2}}', "a.b"),
        ('{"a": ' + "9" * 5000 + "}", ""),
        ("a: " + "9" * 5000, "a"),
        ("a: 1.0e+999", "a"),
        ("a: -.inf", "a"),
    ],
)
def test_numbers_and_keys_json_cannot_hold(text: str, path: str) -> None:
    with pytest.raises(InvalidPipeline) as caught:
        read_documents(text)
    assert [finding.path for finding in caught.value.findings] == [path]


def test_many_mistakes_are_cut_off() -> None:
    found = refused("\n".join(f"{n}: x" for n in range(5000)))
    assert len(found) == 101
    assert "more than 100 mistakes" in found[-1]
