"""Kubernetes quantities."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.core.quantities import cores, count_bytes, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("2", "2"),
        ("500m", "0.5"),
        ("100n", "1E-7"),
        ("1u", "1E-6"),
        ("1.5G", "1500000000"),
        ("15G", "15000000000"),
        ("1k", "1000"),
        ("1Ki", "1024"),
        ("1Gi", "1073741824"),
        ("0.5Mi", "524288"),
        (".5", "0.5"),
        ("5.", "5"),
        ("+3", "3"),
        ("-1", "-1"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1E", "1000000000000000000"),
        ("1Ei", "1152921504606846976"),
        ("12e-1", "1.2"),
        (" 4 ", "4"),
    ],
)
def test_quantities(text: str, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1 Gi",
        "1KI",
        "1ki",
        "1GB",
        "1e",
        "1.2.3",
        "--1",
        "1e3G",
        "NaN",
        "inf",
        "1e9999",
        "1e99",
        "9Ei",
        "٣",
        "1" * 200,
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        parse_quantity(text)


def test_numbers_for_machines() -> None:
    assert cores("250m") == 0.25
    assert count_bytes("1Gi") == 2**30
    assert count_bytes("1m") == 1
    with pytest.raises(ValueError, match="negative"):
        count_bytes("-1")


@given(st.text(max_size=12))
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    try:
        value = parse_quantity(text)
    except ValueError:
        return
    assert value.is_finite()
