"""Values as text and as digests, over all that hypothesis can think of."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mlplatform.capture import capture
from mlplatform.capture.content import content_digest
from mlplatform.capture.values import expression
from tests.support.kernel import Kernel

NUMBERS = st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.just(complex(-0.0, -0.0))
SCALARS = NUMBERS | st.none() | st.text() | st.binary() | st.just(...)
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=6)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.lists(inner) | st.dictionaries(HASHABLE, inner, max_size=4) | st.sets(HASHABLE, max_size=4),
    max_leaves=12,
)


def nothing(_value: Any) -> None:
    return None


@settings(deadline=None, max_examples=200)
@given(VALUES)
def test_text_makes_an_equal_value_of_the_same_types(value: Any) -> None:
    words = expression(value, nothing)
    if words is not None:
        again = eval(words, {})
        assert content_digest(again, nothing) == content_digest(value, nothing)


@settings(deadline=None, max_examples=200)
@given(VALUES)
def test_a_copy_has_the_digest_of_its_original(value: Any) -> None:
    copy = pickle.loads(pickle.dumps(value, 2))
    assert content_digest(copy, nothing) == content_digest(value, nothing)


@settings(deadline=None, max_examples=200)
@given(VALUES, VALUES)
def test_different_values_have_different_digests(one: Any, other: Any) -> None:
    def shape(value: Any) -> str:
        """Its text, with sets in order whatever is around them; what is no number is equal to itself here."""
        if isinstance(value, (set, frozenset)):
            return type(value).__name__ + str(sorted(map(shape, value)))
        if isinstance(value, (list, tuple)):
            return type(value).__name__ + str([shape(item) for item in value])
        if isinstance(value, dict):
            return str([(shape(key), shape(item)) for key, item in value.items()])
        return repr(value)

    if shape(one) != shape(other) and one != other:
        assert content_digest(one, nothing) != content_digest(other, nothing)


@settings(deadline=None, max_examples=40)
@given(VALUES)
def test_any_value_survives_capture(value: Any) -> None:
    kernel = Kernel()
    kernel.names["thing"] = value
    kernel.run("def f(): return thing")
    captured = capture(kernel["f"])
    names: dict[str, Any] = {"__name__": "fresh"}
    exec(captured.source, names)
    assert content_digest(names[captured.name](), nothing) == content_digest(value, nothing)


def test_numbers_that_repr_alike_in_json_differ() -> None:
    digests = {content_digest(v, nothing) for v in (0, 0.0, -0.0, False, "0", b"0", None, math.nan, math.inf)}
    assert len(digests) == 9
    assert json.dumps(0.0) == "0.0"
