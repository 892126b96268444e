"""Two views of a run while it goes on: a live tree on a terminal, one line a change everywhere else."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from mlplatform.cli.board import Board, Node
from mlplatform.cli.rows import note_of, rows
from mlplatform.cli.style import COLORS, GLYPHS, Style, clean, counted, duration, is_terminal
from mlplatform.core.states import TaskState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: States whose beginning is worth a line in a pipe.
_TOLD = frozenset({TaskState.RUNNING, TaskState.RETRYING} | {state for state in TaskState if state.finished})
#: Most rows of the tree that is left on a terminal at the end.
_LAST_ROWS = 60


class View(Protocol):
    """Shows a board as it changes. Used as a context manager."""

    def __enter__(self) -> View: ...
    def __exit__(self, *reason: object) -> None: ...
    def take(self, event: dict[str, Any]) -> None:
        """One event of the run."""
        ...

    def say(self, text: str) -> None:
        """A line beside the progress."""
        ...


def view_of(board: Board, stream: TextIO, *, title: str) -> View:
    """A live tree where ``stream`` is a terminal, else plain lines."""
    if is_terminal(stream):
        return Live(board, stream, title)
    return Plain(board, stream, title)


class Plain:
    """One line when a task starts, waits, or ends."""

    def __init__(self, board: Board, stream: TextIO, title: str) -> None:
        self._board = board
        self._stream = stream
        self._style = Style.of(stream)
        self._title = title
        self._waiting: set[int] = set()

    def __enter__(self) -> Plain:
        self.say(self._title)
        return self

    def __exit__(self, *reason: object) -> None:
        return None

    def take(self, event: dict[str, Any]) -> None:
        found = self._board.apply(event)
        if found is None or found[0].is_group:
            return
        node, before = found
        if node.state in _TOLD:
            if node.state is before and not node.waits:
                return
        elif not node.waits or id(node) in self._waiting:
            return
        if node.waits:
            self._waiting.add(id(node))
        self._line(node)

    def _line(self, node: Node) -> None:
        style = self._style
        state = "waiting" if node.shown_state == "WAITING" else node.state.lower()
        seconds = duration(node.seconds(self._board.changed_at)) if node.state.finished else ""
        note = "" if node.state is TaskState.CACHED else note_of(node)
        words = [clean(str(node.key)), style.paint(state, COLORS.get(node.shown_state, "")), seconds]
        line = "  ".join(word for word in words if word) + (f"  ({note})" if note else "")
        self.say(f"{style.glyph(node.shown_state)} {line}")

    def say(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class Live:
    """A tree that is drawn again as it changes, and once more, whole, at the end."""

    def __init__(self, board: Board, stream: TextIO, title: str) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._board = board
        self._title = title
        self._lock = threading.RLock()  # a Ctrl-C may want to say something while this thread holds it
        self._console = Console(file=stream, highlight=False, soft_wrap=False, emoji=False, markup=False)
        self._live = RichLive(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Live:
        self._live.__enter__()
        return self

    def __exit__(self, *reason: object) -> None:
        self._live.__exit__(None, None, None)
        with self._lock:
            if self._board.roots:  # the summary that follows says the rest
                self._console.print(tree(self._board, self._console, "", time.time(), _LAST_ROWS))

    def take(self, event: dict[str, Any]) -> None:
        with self._lock:
            self._board.apply(event)

    def say(self, text: str) -> None:
        from rich.text import Text

        self._live.console.print(Text(text))

    def _render(self) -> Text:
        with self._lock:
            height = max(5, self._console.size.height - 3)
            return tree(self._board, self._console, self._title, time.time(), height)


def tree(board: Board, console: Console, title: str, now: float, height: int) -> Text:
    """The run's tree as text for rich, cut to the console's width; without a headline if there is no title."""
    from rich.text import Text

    found = rows(board, now, height)
    width = console.size.width
    names = min(max((2 * row.depth + len(row.name) for row in found), default=0), max(20, width - 30))
    text = Text(no_wrap=True, overflow="ellipsis")
    if title:
        text.append(_header(board, title, now), style="bold")
    for row in found:
        text.append(("\n" if text else "") + "  " * (row.depth + 1))
        if row.state:
            text.append(GLYPHS.get(row.state, " "), style=COLORS.get(row.state, "dim"))
            text.append(" ")
        dim = row.state in ("", "SKIPPED", "PENDING", "QUEUED")
        room = max(8, names - 2 * row.depth)
        name = row.name if len(row.name) <= room else row.name[: room - 1] + "…"
        text.append(name.ljust(room), style="dim" if dim else "")
        if row.time or row.note:
            text.append(f"  {row.time:>8}", style="dim")
        if row.note:
            left = width - 16 - 2 * row.depth - room
            note = row.note if len(row.note) <= left else row.note[: max(0, left - 1)] + "…"
            text.append(
                f"  {note}", style=COLORS.get(row.state, "dim") if row.state in ("FAILED", "WAITING") else "dim"
            )
    return text


def _header(board: Board, title: str, now: float) -> str:
    counts = board.counts()
    done = sum(number for state, number in counts.items() if state.finished)
    total = sum(counts.values())
    parts = [title]
    if not board.state.finished:
        parts.append(str(board.state).lower())
        if board.started_at is not None:
            parts.append(duration(now - board.started_at))
    if total:
        parts.append(f"{done}/{counted(total, 'task')}")
    return "  ".join(parts)
