"""Which tasks of a notebook may run beside those before them, and whether what one did so stands. Pure.

Starting one is a guess, by its text and by what earlier runs recorded. Whether its result counts is none: it ran in a
process of its own, from a state that came before its turn, and could change nothing outside. When its turn has come,
its record must stand in the state that the notebook has reached by then, as a record of the cache must; and no file
and nothing inside a library may have been met by a task that it ran beside.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlplatform.core.values import child
from mlplatform.engine.notebooks.keys import as_python
from mlplatform.engine.notebooks.state import Record, State, described
from mlplatform.launcher.notebook.analysis import read_task
from mlplatform.launcher.notebook.hidden import STREAMS, is_setting
from mlplatform.planning.notebook_component import NotebookTask

_DRAWS = re.compile(r"\brandom\.(?!default_rng|Random\b|RandomState\b|Generator\b)|\bmanual_seed\b|\brand(?:n|int)?\(")
_OUTSIDE = re.compile(r"\bmlflow\b|^\s*[!%]{1,2}(?!matplotlib|time|config|precision|load_ext)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reach:
    """``reads``, ``writes``: names (and items of hidden state) that a task will read and write, as far as is known.
    ``alone``: why it must not run beside others, "" if nothing is known against it. ``trivial``: it only defines."""

    reads: frozenset[str]
    writes: frozenset[str]
    alone: str = ""
    trivial: bool = False


def reach_of(task: NotebookTask, record: Record | None) -> Reach:
    """From what a task did when it ran last, else from its text."""
    trivial = all(cell.definitions for cell in task.cells)
    if record is not None:
        reads = frozenset(record["reads"])
        writes = frozenset([*record["writes"], *record["deleted"]])
        return Reach(reads, writes, _known_against(record), trivial)
    source = "\n".join(cell.source for cell in task.cells)
    flow = read_task([(cell.source, cell.may_fail) for cell in task.cells], as_python)
    reads, writes = set(flow.reads), set(flow.sets) | _changed_by_text(task)
    if _DRAWS.search(source):
        reads |= STREAMS
        writes |= STREAMS
    alone = "it can reach any variable" if flow.whole or task.whole_namespace else ""
    if not alone and _OUTSIDE.search(source):
        alone = "it talks to the outside"
    return Reach(frozenset(reads), frozenset(writes), alone, trivial)


def _known_against(record: Record) -> str:
    files = child(record, "files")
    if record["whole"] is not None:
        return "it can reach any variable"
    if files.get("writes"):
        return "it writes files"
    if files.get("sockets"):
        return "it talks to the network"
    if files.get("executed"):
        return "it runs programs"
    kept = (child(child(record, "groups"), told[1]) for told in record["writes"].values())
    lost = next((str(group["why"]) for group in kept if group.get("why")), "")
    return str(record.get("doubt") or "") or next(iter(record["blocks"]), "") or lost


def _changed_by_text(task: NotebookTask) -> set[str]:
    """Names that its text plainly changes in place: by setting a part, or by a call whose value nobody takes."""
    found: set[str] = set()
    for cell in task.cells:
        try:
            tree = ast.parse(as_python(cell.source))
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in ast.walk(tree):
            targets: list[ast.expr] = []
            if isinstance(node, (ast.Assign, ast.Delete)):
                targets = node.targets
            elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
                targets = [node.target]
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                targets = [node.value.func] if isinstance(node.value.func, ast.Attribute) else []
            found.update(filter(None, map(_root, targets)))
    return found


def _root(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def conflict(mine: Reach, others: Iterable[Reach]) -> str:
    """Why a task had better wait for others that have not run yet; "" if it need not."""
    if mine.alone:
        return mine.alone
    for other in others:
        if other.alone.startswith("it can reach"):
            return "a task before it can reach any variable"
        for name in sorted(other.writes):
            if name in mine.reads or is_setting(name):
                return f"{described(name)} is changed before its turn"
    return ""


# ------------------------------------------------------------------ while it runs
def stuck(state: State) -> str:
    """What of a state no other process has, whatever variables it is given: a handler, a hook, an open figure."""
    return f"the notebook's process has {state.blocks[0]}" if state.blocks else ""


def spoiled(names: Sequence[str], base: State, now: State) -> str:
    """Whether what a task began with (``names`` of the state ``base``) is no longer what it would find."""
    if now.unknown:
        return "what the tasks before it did is not known"
    if now.blocks:
        return stuck(now)
    for name in names:
        if not name.startswith("@") and _content(base, name) != _content(now, name):
            return f"{described(name)}, which it began with, changed"
    for name in sorted({*base.names, *now.names}):
        if is_setting(name) and _content(base, name) != _content(now, name):
            return f"{described(name)} changed"
    return ""


def _content(state: State, name: str) -> str:
    return state.names.get(name, ("", ""))[0]


# ------------------------------------------------------------------ whether it stands
def met(record: Record, beside: Sequence[Record | None], before: Sequence[Record | None]) -> str:
    """What a task met of those ``beside`` which it ran (files), or of any ``before`` it (inside libraries)."""
    files = child(record, "files")
    if record.get("doubt") or files.get("writes") or files.get("sockets") or files.get("executed"):
        return "it touched the outside"
    for other in beside:
        if other is None or child(other, "files").get("doubt"):
            return "which files a task beside it touched is not known"
        for path in child(child(other, "files"), "writes"):
            if _looked_at(files, path):
                return f"{path}, which it looked at, was written beside it"
    left: set[str] = set(record.get("left") or ())
    for other in before:
        theirs: list[str] | None = other.get("left") if other is not None else None
        if left and theirs is None:
            return "what tasks before it left in libraries is not known"
        mine = left & set(theirs or ())
        if mine:
            kind, place, *_ = min(mine).split(" ")
            return f"a {kind} in {place.partition(':')[0]} would not have been as it found it"
    return ""


def _looked_at(files: Mapping[str, Any], path: str) -> bool:
    folder, name = os.path.split(path)
    if path in child(files, "own_reads"):
        return True
    for read in files.get("reads") or ():
        kind = read["kind"]
        if read["path"] == path or (kind == "listing" and read["path"] == folder):
            return True
        if kind == "absent" and read["path"] == folder and name in read["names"]:
            return True
    return False
