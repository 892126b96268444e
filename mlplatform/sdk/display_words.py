"""What a run's display says, whatever draws it: sentences and rows from a snapshot. Pure."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlplatform.sdk.looks import GLYPHS, counted, duration
from mlplatform.sdk.snapshot import Snapshot

#: Last and first lines of a traceback that are shown, and how long one may be.
_TRACEBACK: Final = 7
_HEAD: Final = 4
_LINE: Final = 240
#: Characters of a value or a reason in a table.
_WIDTH: Final = 120
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_PAINT: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
#: Loops with more iterations than this are told by count.
_LOOP: Final = 4
_ORDER: Final = ("FAILED", "RUNNING", "RETRYING", "QUEUED", "PENDING", "CANCELLED", "SUCCEEDED", "CACHED", "SKIPPED")


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed task: the last lines of its own traceback, or the reason instead, and what to do."""

    task: str
    head: str
    lines: tuple[str, ...]
    hint: str


@dataclass(frozen=True, slots=True)
class Row:
    """One task in the table."""

    state: str
    task: str
    time: str
    why: str


def clean(text: str) -> str:
    """Text for one line: no colours, no control characters."""
    return _CONTROL.sub("�", _PAINT.sub("", text).replace("\n", " ").replace("\t", "    "))


def short(text: str, limit: int = _WIDTH) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def leaves(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Tasks that are no groups."""
    return [task for task in report["tasks"] if not task["is_group"]]


def key_of(task: Mapping[str, Any]) -> str:
    """``for-loop-1/train[3]``."""
    return str(task["name"]) + "".join(f"[{index}]" for index in task["iteration"])


def verdict(snapshot: Snapshot) -> str:
    """``succeeded in 12s``, ``running for 3m 2s``, ``failed after 4s``."""
    report = snapshot.report
    start = report["started_at"]
    if start is None:
        return "waits to begin"
    seconds = (report["finished_at"] or snapshot.now) - start
    word = {"SUCCEEDED": "in", "FAILED": "after", "CANCELLED": "after"}.get(report["state"], "for")
    return f"{report['state'].lower()} {word} {duration(seconds)}"


def tally(snapshot: Snapshot) -> str:
    """``12 tasks: 2 failed, 10 succeeded``."""
    counts = Counter(task["state"] for task in leaves(snapshot.report))
    if not counts:
        return "no task has begun"
    total = counted(sum(counts.values()), "task")
    if len(counts) == 1:
        return f"{total} {next(iter(counts)).lower()}"
    return f"{total}: " + ", ".join(f"{counts[state]} {state.lower()}" for state in _ORDER if counts[state])


def moment(seconds: float) -> str:
    """A time that means the same wherever the notebook is opened."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def failures(snapshot: Snapshot) -> list[Failure]:
    """Failed tasks in the order in which they failed."""
    failed = [task for task in leaves(snapshot.report) if task["state"] == "FAILED"]
    return [_failure(task) for task in sorted(failed, key=lambda task: task["finished_at"] or 0.0)]


def _failure(task: Mapping[str, Any]) -> Failure:
    error: Mapping[str, Any] = task["error"] or {"message": "no reason was recorded"}
    tries = f" after {task['attempts']} attempts" if task["attempts"] > 1 else ""
    trace = [short(clean(line), _LINE) for line in (error.get("traceback") or "").rstrip().splitlines()]
    if len(trace) > _TRACEBACK + _HEAD:  # the user's own line comes first, what went wrong last
        trace = [*trace[:_HEAD], "  …", *trace[-_TRACEBACK:]]
    lines = trace or [short(clean(line), _LINE) for line in error["message"].strip().splitlines()[: _TRACEBACK + _HEAD]]
    return Failure(clean(key_of(task)), f"failed{tries}", tuple(lines), clean(error.get("hint") or ""))


def logs(snapshot: Snapshot) -> list[tuple[str, str, tuple[str, ...]]]:
    """(task, how long it runs, its last lines) of running tasks."""
    running = {key_of(task): task for task in leaves(snapshot.report) if task["state"] == "RUNNING"}
    found: list[tuple[str, str, tuple[str, ...]]] = []
    for name, text in snapshot.logs.items():
        if name in running:
            seconds = snapshot.now - (running[name]["started_at"] or snapshot.now)
            lines = tuple(short(clean(line), _LINE) for line in text.splitlines())
            found.append((clean(name), f"running for {duration(seconds)}", lines))
    return found


def rows(snapshot: Snapshot) -> list[Row]:
    """All tasks in the order in which they came up; of a long loop only the iterations worth telling, and a count."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for task in leaves(snapshot.report):
        by_name.setdefault(task["name"], []).append(task)
    found: list[Row] = []
    for name, tasks in by_name.items():
        if len(tasks) <= _LOOP:
            found += [_row(task, snapshot.now) for task in tasks]
            continue
        telling = [task for task in tasks if task["state"] in ("FAILED", "RUNNING")]
        told = sorted(telling, key=lambda task: task["state"] != "FAILED")[:_LOOP]
        found += [_row(task, snapshot.now) for task in told]
        left = [task for task in tasks if task not in told]
        found += [_count_row(name, left, snapshot.now)] if left else []
    return found


def _count_row(name: str, tasks: list[Mapping[str, Any]], now: float) -> Row:
    """Iterations of a task in one row, with the state of those that are furthest from their end."""
    counts = Counter(task["state"] for task in tasks)
    states = [state for state in _ORDER if counts[state]]
    starts = [task["started_at"] for task in tasks if task["started_at"] is not None]
    ends = [task["finished_at"] or now for task in tasks if task["started_at"] is not None]
    seconds = max(ends) - min(starts) if starts else None
    words = ", ".join(f"{counts[state]} {state.lower()}" for state in states)
    return Row(states[0], f"{clean(name)} × {len(tasks)}", duration(seconds), words)


def _row(task: Mapping[str, Any], now: float) -> Row:
    state, start = task["state"], task["started_at"]
    seconds = None
    if start is not None and state != "CACHED":
        seconds = (task["finished_at"] or now) - start if state not in ("PENDING", "QUEUED") else None
    why = clean(task["why"])
    if state == "CACHED":  # "reused the result of RUN:TASK: " says less than what follows it
        why = why.partition(": ")[2] or why
    return Row(state, clean(key_of(task)), duration(seconds), short(why))


def telling_first(found: list[Row]) -> list[Row]:
    """The same rows, failed and running ones first: what must not be cut off."""
    return sorted(found, key=lambda row: _ORDER.index(row.state) if row.state in _ORDER else len(_ORDER))


def values(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values in one line each."""
    return [(short(clean(name), 60), value(item)) for name, item in found.items()]


def value(found: Any) -> str:
    """A parameter, an artifact or a list of artifacts in one line. Numbers keep their precision."""
    if isinstance(found, Mapping) and "uri" in found and "digest" in found:
        kind = str(found["type"]).removeprefix("system.")  # pyright: ignore[reportUnknownArgumentType]
        return clean(f"{kind} {found['uri']}".replace("file://", ""))
    if isinstance(found, list) and found and all(isinstance(i, Mapping) and "uri" in i for i in found):  # pyright: ignore[reportUnknownVariableType]
        return f"{len(found)} artifacts"  # pyright: ignore[reportUnknownArgumentType]
    return short(clean(found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)))


def next_steps(snapshot: Snapshot) -> list[tuple[str, str]]:
    """What to type next, and what it does."""
    failed = failures(snapshot)
    state = snapshot.report["state"]
    steps: list[tuple[str, str]] = []
    if failed:
        steps.append((f"run.task({failed[0].task!r}).replay()", "its inputs and code in this kernel"))
    if state in ("FAILED", "CANCELLED"):
        steps.append(("run.resume()", "go on, with the code as it is now"))
    return steps


def glyph(state: str) -> str:
    return GLYPHS.get(state, "?")
