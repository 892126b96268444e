"""Words and signs on a screen."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.cli import style
from mlplatform.cli.style import GLYPHS, Style, clean, duration, size, table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""), (-1, "0.0s"), (0, "0.0s"), (0.44, "0.4s"), (9.94, "9.9s"), (9.96, "10s"), (12.4, "12s"),
        (59.6, "1m 0s"), (192, "3m 12s"), (3599.9, "1h 0m"), (7500, "2h 5m"), (86399, "23h 59m"),
        (273600, "3d 4h"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 1e9))
def test_durations_have_at_most_two_units(seconds: float) -> None:
    assert 1 <= len(duration(seconds).split()) <= 2


def test_sizes() -> None:
    assert [size(n) for n in (0, 812, 1434, 5 << 20, 3 << 40)] == ["0 B", "812 B", "1.4 KiB", "5.0 MiB", "3.0 TiB"]


def test_every_state_has_a_sign_of_its_own_shape() -> None:
    from mlplatform.core.states import RunState, TaskState

    assert {str(state) for state in (*TaskState, *RunState)} <= set(GLYPHS)
    shapes = [GLYPHS[state] for state in ("QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "SKIPPED", "CACHED", "WAITING")]
    assert shapes == ["○", "◐", "●", "✕", "–", "⟲", "◷"]


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("env", "color"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False)],
)
def test_colours_on_a_terminal(env: dict[str, str], color: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert Style.of(Terminal()).color is color


def test_colours_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert Style.of(io.StringIO()).paint("x", "red") == "x"
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert Style.of(io.StringIO()).paint("x", "red", "bold") == "\x1b[31;1mx\x1b[0m"


def test_a_screen_without_these_signs() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    signs = [Style.of(stream).glyph(state) for state in GLYPHS]
    assert all(sign.isascii() for sign in signs)


def test_tables_line_up_whatever_is_in_them() -> None:
    rows = [["\x1b[31ma\x1b[0m", "1"], ["日本", "10"], ["e\u0301", "100"]]
    assert [style.width(line) for line in table([[f"{a}|", b] for a, b in rows], right=(1,))] == [10] * 3
    assert table([]) == []


@given(st.text())
def test_clean_text_has_no_control(text: str) -> None:
    found = clean(text)
    assert len(found) == len(text)
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in found)
