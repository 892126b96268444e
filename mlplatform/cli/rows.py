"""Which rows of a run's tree fit on a screen. Pure.

Large loops are one row with a count, and their failed tasks beneath; finished tasks give way to those that run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mlplatform.cli.board import Board, Node
from mlplatform.cli.style import clean, counted, duration
from mlplatform.core.states import TaskState

#: Loops with more iterations than this are one row.
_OPEN_LOOP = 4
#: Characters of a failed task's reason; the summary has all of it.
_REASON = 100
#: Failed tasks shown beneath a closed loop.
_FAILED_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One line. ``weight``: rows with the smallest give way first when there is no room."""

    depth: int
    state: str
    name: str
    time: str = ""
    note: str = ""
    weight: int = field(default=1, compare=False)


def rows(board: Board, now: float, height: int) -> list[Row]:
    """At most ``height`` rows of the tree, with a last one that counts what was left out."""
    found = [row for root in board.roots for row in _rows(root, 0, now)]
    left_out = len(found) - height
    if left_out <= 0:
        return found
    spare = sorted(range(len(found)), key=lambda index: (found[index].weight, index))[: left_out + 1]
    gone = set(spare)
    kept = [row for index, row in enumerate(found) if index not in gone]
    return [*kept, Row(0, "", f"... {counted(len(gone), 'more row')}")]


def _rows(node: Node, depth: int, now: float) -> Iterator[Row]:
    iterations = node.iterations if node.is_group else []
    if not iterations:
        yield _row(node, depth, now, _name(node))
        if not (node.is_group and node.state is TaskState.SKIPPED):
            for child in node.children:
                yield from _rows(child, depth + 1, now)
        return
    done = sum(child.state.finished for child in iterations)
    yield _row(node, depth, now, f"{_name(node)} [{done}/{len(iterations)}]", _loop_note(node))
    if len(iterations) <= _OPEN_LOOP:
        for child in iterations:
            yield from _iteration(child, depth + 1, now)
        return
    failed = [leaf for leaf in node.leaves() if leaf.state is TaskState.FAILED]
    for leaf in failed[:_FAILED_SHOWN]:
        yield _row(leaf, depth + 1, now, _name(leaf, indexed=True))


def _iteration(node: Node, depth: int, now: float) -> Iterator[Row]:
    """An iteration with one task is that task's row."""
    only = node.children[0] if len(node.children) == 1 else None
    if only is not None and not only.is_group:
        yield _row(only, depth, now, _name(only, indexed=True))
        return
    yield _row(node, depth, now, _name(node, indexed=True))
    for child in node.children:
        yield from _rows(child, depth + 1, now)


def _name(node: Node, *, indexed: bool = False) -> str:
    indexes = "".join(f"[{index}]" for index in node.key.iteration[-1:]) if indexed else ""
    return clean(node.key.path[-1]) + indexes


def _row(node: Node, depth: int, now: float, name: str, note: str = "") -> Row:
    busy = node.state in (TaskState.RUNNING, TaskState.FAILED) or node.waits
    weight = 3 if busy else 2 if node.is_group or not node.state.finished else 1
    seconds = node.seconds(now)
    return Row(depth, node.shown_state, name, duration(seconds), note or note_of(node), weight)


def note_of(node: Node) -> str:
    """What is worth saying beside a task."""
    notes: list[str] = []
    if node.attempt > 1:
        notes.append(f"attempt {node.attempt}")
    if node.state is TaskState.CACHED:
        notes.append("cached")
    elif node.state is TaskState.FAILED and node.error:
        notes.append(_short(clean(str(node.error.get("message", ""))).strip()))
    elif node.waits or (node.state is TaskState.SKIPPED and not node.is_group):
        notes.append(clean(node.note))
    return ", ".join(note for note in notes if note)


def _short(text: str) -> str:
    return text if len(text) <= _REASON else text[: _REASON - 3] + "..."


def _loop_note(node: Node) -> str:
    leaves = list(node.leaves())
    running = sum(leaf.state is TaskState.RUNNING for leaf in leaves)
    cached = sum(leaf.state is TaskState.CACHED for leaf in leaves)
    failed = sum(leaf.state is TaskState.FAILED for leaf in leaves)
    words = ((running, "running"), (cached, "cached"), (failed, "failed"))
    return ", ".join(f"{number} {word}" for number, word in words if number)
