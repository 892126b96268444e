"""Headings in their spellings, and the level that makes tasks."""

from __future__ import annotations

import pytest

from mlplatform.notebook.headings import Heading, headings, section_level
from mlplatform.notebook.model import Cell

RST = {"raw_mimetype": "text/restructuredtext"}


def found(text: str, kind: str = "markdown", metadata: dict[str, str] | None = None) -> list[tuple[int, str]]:
    return [(each.level, each.text) for each in headings([Cell(0, kind, text, (), metadata or {})])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# A", [(1, "A")]),
        ("## A ##", [(2, "A")]),
        ("   ### A", [(3, "A")]),
        ("    # code", []),
        ("#A", []),
        ("text\n# A\nmore", [(1, "A")]),
        ("A\n===", [(1, "A")]),
        ("A\n---", [(2, "A")]),
        ("\n---\n", []),
        ("- item\n---", []),
        ("| a |\n---", []),
        ("```\n# no\n```\n# yes", [(1, "yes")]),
        ("~~~~\n# no\n~~~\n# no\n~~~~\n# yes", [(1, "yes")]),
        ("<h2 id='x'>A <b>b</b></h2>", [(2, "A <b>b</b>")]),
        ("## `x` and *y*", [(2, "`x` and *y*")]),
    ],
)
def test_markdown(text: str, expected: list[tuple[int, str]]) -> None:
    assert found(text) == expected


def test_restructured_text_tells_levels_by_their_order() -> None:
    cells = [
        Cell(0, "raw", "Title\n=====\n\ntext\n", (), RST),
        Cell(1, "raw", "Part\n----\n\nSub\n~~~\n", (), RST),
        Cell(2, "raw", "Other part\n----------\n", (), RST),
        Cell(3, "raw", "Not a title\n===========\n", (), {}),
    ]
    assert [(each.cell, each.level, each.text) for each in headings(cells)] == [
        (0, 1, "Title"),
        (1, 2, "Part"),
        (1, 3, "Sub"),
        (2, 2, "Other part"),
    ]


def test_an_underline_shorter_than_its_title_is_none() -> None:
    assert found("A long line\n---\n", "raw", RST) == []


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([], 0),
        ([1], 1),
        ([1, 1], 1),
        ([1, 2, 2], 2),
        ([1, 2], 2),
        ([1, 2, 3, 3], 3),
        ([1, 2, 1, 2], 2),
        ([1, 1, 3, 3], 1),
        ([1, 3, 3, 3], 3),
        ([2, 3, 2], 2),
        ([3, 3], 3),
    ],
)
def test_the_level_of_sections(levels: list[int], expected: int) -> None:
    assert section_level([Heading(0, level, "x") for level in levels]) == expected
