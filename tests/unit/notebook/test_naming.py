"""Names that KFP and Kubernetes take."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.notebook.naming import MAX_LENGTH, Names, plain, slug


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Load the data", "load-the-data"),
        ("1. Load", "load"),
        ("2.3 Train & test", "train-test"),
        ("[Link](http://x) to **it**", "link-to-it"),
        ("`fit_transform`", "fit-transform"),
        ("Größe prüfen", "groe-prufen"),
        ("数据", "section"),
        ("5", "section-5"),
        ("!!!", "section"),
        ("<a id='x'></a>Plot", "plot"),
    ],
)
def test_slugs(text: str, expected: str) -> None:
    assert slug(text, "section") == expected


@given(st.text(max_size=200))
def test_every_slug_is_a_name(text: str) -> None:
    name = slug(text, "section")
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name)
    assert len(name) <= MAX_LENGTH + len("section-")


def test_long_names_end_at_a_word() -> None:
    assert slug("a word " * 30, "s") == "a-word-a-word-a-word-a-word-a-word-a-word-a"


def test_each_name_once() -> None:
    names = Names()
    assert [names.take(word) for word in ("plot", "plot", "plot-2", "plot")] == ["plot", "plot-2", "plot-2-2", "plot-3"]


def test_marks_are_no_part_of_a_heading() -> None:
    assert plain("**Bold** _it_ `code` snake_case [a](b) ![i](j.png) $x$") == "Bold it code snake_case a i x"
