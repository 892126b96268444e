"""Conditions and selectors."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.core.errors import PlanningError
from mlplatform.core.model import Artifact, Values
from mlplatform.planning.cel import check, compile_condition, evaluate, select
from mlplatform.planning.celscan import ScanError, strict_equality

INPUTS = Values(
    {"n": 7, "f": 0.25, "s": "abc", "b": True, "l": [1, 2], "d": {"k": 1}, "quote": 'it\'s "x"', "none": None},
    {"model": Artifact("m", "/m", "system.Model", {"accuracy": 0.9})},
)


def value(name: str) -> str:
    return f"inputs.parameter_values['{name}']"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"int({value('n')}) > 5", True),
        (f"!(int({value('n')}) > 5)", False),
        (f"{value('n')} == 7.0", True),
        (f"{value('f')} < 1", True),
        (f"{value('s')} == 'abc' && {value('b')} == true", True),
        (f"{value('s')} != 'abc' || {value('n')} <= 7", True),
        (f"{value('s')} < 'm'", True),
        (f"{value('quote')} == 'it\\'s \"x\"'", True),
        (f"{value('none')} == null", True),
        (f"{value('s')} == null", False),
        (f"{value('n')} in [1, 7]", True),
        ("'k' in inputs.parameter_values['d']", True),
        (f"{value('l')} == [1, 2]", True),
        (f"{value('l')}.exists(x, x == 2)", True),
        ("inputs.params['n'] == 7 && inputs.parameters['s'] == 'abc'", True),
        ("inputs.artifacts['model'][0].properties['accuracy'] * 100.0 > 89.0", True),
        (f"{value('b')} ? {value('n')} == 7 : false", True),
        ("true || 1 == 'a'", True),
        ("false && 1 == 'a'", False),
        ("// a comment\n1 == 1", True),
    ],
)
def test_conditions(text: str, expected: bool) -> None:
    assert evaluate(text, INPUTS) is expected
    assert check(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{value('s')} == 1", '"abc" (string) is compared with 1 (number)'),
        (f"{value('n')} == '7'", '7 (number) is compared with "7" (string)'),
        (f"{value('b')} != 'true'", "true (boolean) is compared with"),
        (f"{value('b')} == 1", "true (boolean) is compared with 1 (number)"),
        (f"{value('s')} == 1 || true", "is compared with"),
        (f"!({value('s')} == 1)", "is compared with"),
        (f"{value('s')} in [1, 2]", '"abc" (string) is searched in [1, 2]'),
        (f"{value('n')} in 'seven'", "'in' needs a list or a struct"),
        (f"{value('missing')} == 1", "there is no value 'missing'"),
        (f"int({value('s')}) == 1", "string parse error"),
        (f"{value('s')} > 1", "No such overload"),
        ("nothing == 1", "Undefined variable"),
        (value("n"), "it gives 7, not true or false"),
        ("1 / 0 == 1", "division by zero"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error_with_expression_and_values(text: str, reason: str) -> None:
    with pytest.raises(PlanningError) as caught:
        evaluate(text, INPUTS)
    assert reason in caught.value.message
    assert repr(text) in caught.value.message
    if "'s'" in text:
        assert 's = "abc"' in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "inputs.parameter_values['flag'] == 'it's'",
        *("1 ==", "", "(", "a b", "1 = 1", "'open", "a ==== b", "@", "{1}", "in", "[1,", "f(", "a.1"),
        *("(" * 65 + "1" + ")" * 65, "!" * 100 + "true", "1 + " * 2000 + "1", "a" + ".b" * 100, "@" + "(" * 100_000),
    ],
)
def test_check_says_what_is_wrong(text: str) -> None:
    reason = check(text)
    assert reason
    with pytest.raises(PlanningError):
        compile_condition(text)


names = st.sampled_from(
    ["a", "inputs.x['y']", "f(1, 'b')", "1", "2.5", "'t == u'", '"v"', "true", "null", "[1, 2]", "{'k': 1}"]
)
expressions = st.recursive(
    names,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["==", "!=", "<", ">=", "&&", "||", "+", "-", "%", "in"]), inner).map(
            lambda t: f"({t[0]}) {t[1]} ({t[2]})"
        ),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} ? {t[1]} : {t[2]})"),
        inner.map(lambda t: f"!({t})"),
        inner.map(lambda t: f"[{t}].exists(x, x == {t})"),
    ),
    max_leaves=8,
)


@given(expressions)
def test_the_rewriting_leaves_no_loose_equality_and_stays_an_expression(text: str) -> None:
    strict = strict_equality(text)
    outside = strict.replace("'t == u'", "")
    assert "==" not in outside
    assert "!= " not in outside
    assert " in " not in outside
    assert check(text) is None


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_a_scan_error(text: str) -> None:
    try:
        strict_equality(text)
    except ScanError:
        assert check(text) is not None or text.strip() == ""


scalars = st.one_of(st.integers(-5, 5), st.sampled_from([0.5, 2.0, "", "a", "1", "true", True, False, None]))


def kind(item: Any) -> str:
    return "number" if isinstance(item, (int, float)) and not isinstance(item, bool) else type(item).__name__


@given(scalars, scalars)
def test_equality_is_that_of_values_or_an_error(left: Any, right: Any) -> None:
    values = Values({"a": left, "b": right})
    if kind(left) == kind(right) or left is None or right is None:
        same = left == right and kind(left) == kind(right)
        assert evaluate(f"{value('a')} == {value('b')}", values) is same
        assert evaluate(f"{value('a')} != {value('b')}", values) is not same
    else:
        with pytest.raises(PlanningError):
            evaluate(f"{value('a')} == {value('b')}", values)


@pytest.mark.parametrize(
    ("expression", "given_value", "expected"),
    [
        ('parseJson(string_value)["a"]["b"]', {"a": {"b": [1, 2.5, {"z": 1, "a": 2}]}}, [1, 2.5, {"z": 1, "a": 2}]),
        ('parseJson(string_value)["a"]', '{"a": "text"}', "text"),
        ("parseJson(string_value)['a']", {"a": True}, True),
        ("parseJson(string_value)[1]", [5, 6], 6),
        ("parseJson(string_value)", {"a": 1}, {"a": 1}),
        ("parseJson(string_value).a + 1", {"a": 2}, 3),
        ('parseJson(string_value)["a]b"]', {"a]b": 1}, 1),
    ],
)
def test_selectors(expression: str, given_value: Any, expected: Any) -> None:
    found = select(expression, given_value)
    assert found == expected
    assert json.dumps(found) == json.dumps(expected)


@pytest.mark.parametrize(
    ("expression", "given_value", "reason"),
    [
        ('parseJson(string_value)["b"]', {"a": 1}, "there is no member 'b'"),
        ('parseJson(string_value)["a"]["b"]', {"a": 1}, "there is no member 'b' in 1"),
        ("parseJson(string_value)[3]", [1], "there is no item 3"),
        ('parseJson(string_value)["a"]', "no json", "Expecting value"),
        ("parseJson(string_value).b", {"a": 1}, "'b'"),
        ("nonsense(", {"a": 1}, "parse"),
    ],
)
def test_selectors_that_find_nothing(expression: str, given_value: Any, reason: str) -> None:
    with pytest.raises(PlanningError) as caught:
        select(expression, given_value)
    assert reason in caught.value.message


def test_the_library_is_loaded_at_first_use_and_without_its_command_line() -> None:
    program = (
        "import sys\n"
        "import mlplatform.planning.planner\n"
        "from mlplatform.planning import cel\n"
        "assert 'cel' not in sys.modules and 'typer' not in sys.modules\n"
        "assert cel.check('1 == 1') is None\n"
        "assert 'typer' not in sys.modules and 'prompt_toolkit' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
