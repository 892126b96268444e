"""A run in words, from its report: how it ended, what failed and where to look, its outputs, its tasks."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mlplatform.cli.options import command_for
from mlplatform.cli.style import Style, clean, clean_lines, counted, duration, is_terminal, table
from mlplatform.engine.home import Home

Report = Mapping[str, Any]

#: Failed tasks told in full; the others are counted.
_FAILURES = 3
#: Last lines of a traceback that are shown.
_TRACEBACK = 8
#: Characters of a value or reason that are shown.
_WIDTH = 100


def ending(report: Report, home: Home, style: Style, *, file: str = "") -> list[str]:
    """What stands at the end of ``mlplatform run``. ``file``: the pipeline file, for the command that resumes."""
    failed = failures(report)
    lines: list[str] = []
    for task in failed[:_FAILURES]:
        lines += [*failure(task, style), ""]
    if len(failed) > _FAILURES:
        lines += [f"and {len(failed) - _FAILURES} more failed", ""]
    lines.append(verdict(report, style))
    error = report["error"]
    if error and not failed:  # else it says what the failed tasks said
        lines.append(f"  {clean(error['message'])}")
        if error.get("hint"):
            lines.append(f"  {clean(error['hint'])}")
    lines += outputs(report, style)
    lines += next_steps(report, home, style, file=file)
    return lines


def verdict(report: Report, style: Style) -> str:
    """``● name  succeeded in 12s  3 tasks: 2 succeeded, 1 cached``."""
    state = report["state"]
    end = {"SUCCEEDED": "in", "FAILED": "after", "CANCELLED": "after"}.get(state, "for")
    seconds = elapsed(report)
    how_long = f" {end} {duration(seconds)}" if seconds is not None else ""
    word = style.paint(state.lower(), "bold")
    return f"{style.glyph(state)} {clean(report['name'])}  {report['run_id']}  {word}{how_long}  {tally(report)}"


def tally(report: Report) -> str:
    """``12 tasks: 10 succeeded, 2 failed``."""
    states = Counter(task["state"] for task in leaves(report))
    if not states:
        return "no tasks"
    if len(states) == 1:
        return f"{counted(sum(states.values()), 'task')} {next(iter(states)).lower()}"
    words = ", ".join(f"{number} {state.lower()}" for state, number in states.most_common())
    return f"{counted(sum(states.values()), 'task')}: {words}"


def elapsed(report: Report) -> float | None:
    """Seconds from its start to its end, or to now."""
    start = report["started_at"] or report["created_at"]
    end = report["finished_at"] or time.time()
    return max(0.0, end - start) if start else None


def leaves(report: Report) -> list[Mapping[str, Any]]:
    """Tasks that are no groups."""
    return [task for task in report["tasks"] if not task["is_group"]]


def failures(report: Report) -> list[Mapping[str, Any]]:
    """Failed tasks in the order in which they failed, the one that began it first."""
    found = [task for task in leaves(report) if task["state"] == "FAILED"]
    return sorted(found, key=lambda task: task["finished_at"] or 0.0)


def key_of(task: Mapping[str, Any]) -> str:
    """``for-loop-1/train[3]``: what commands take as a task's name."""
    return str(task["name"]) + "".join(f"[{index}]" for index in task["iteration"])


def failure(task: Mapping[str, Any], style: Style) -> list[str]:
    """A failed task: the last lines of its own traceback, or what is known instead."""
    error: Mapping[str, Any] = task["error"] or {"message": "no reason was recorded", "traceback": "", "hint": ""}
    tries = f" after {task['attempts']} attempts" if task["attempts"] > 1 else ""
    lines = [f"{style.glyph('FAILED')} {style.paint(clean(key_of(task)), 'bold')}  failed{tries}"]
    trace = clean_lines(error.get("traceback") or "").rstrip().splitlines()
    message = clean_lines(error["message"]).strip()
    if trace:
        if len(trace) > _TRACEBACK:
            lines.append("    ...")
        lines += [f"    {line}" for line in trace[-_TRACEBACK:]]
    else:
        lines += [f"    {line}" for line in message.splitlines()]
    if error.get("hint"):
        lines.append(f"    {style.paint(clean(error['hint']), 'yellow')}")
    if task["log"]:
        lines.append(f"    {style.paint('log: ' + clean(task['log']), 'dim')}")
    return lines


def outputs(report: Report, style: Style) -> list[str]:
    """The run's outputs, one a line."""
    rows = [[f"  {style.paint(clean(name), 'bold')}", value(found)] for name, found in report["outputs"].items()]
    return table(rows)


def value(found: Any) -> str:
    """A parameter or an artifact in one line."""
    if isinstance(found, Mapping) and "uri" in found and "digest" in found:
        return clean(str(found["uri"]).removeprefix("file://"))  # pyright: ignore[reportUnknownArgumentType,reportUnknownMemberType]
    if isinstance(found, list) and found and all(isinstance(i, Mapping) and "uri" in i for i in found):  # pyright: ignore[reportUnknownVariableType]
        return f"{len(found)} artifacts, the first at {value(found[0])}"  # pyright: ignore[reportUnknownArgumentType]
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    text = clean(text)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def next_steps(report: Report, home: Home, style: Style, *, file: str = "") -> list[str]:
    """Commands to go on with."""
    run, steps = report["run_id"], list[tuple[str, str]]()
    failed = failures(report)
    if report["state"] in ("FAILED", "CANCELLED"):
        if failed:
            steps.append((command_for(home, f"runs logs {run} {_word(key_of(failed[0]))}"), "what it printed"))
        resume = f"runs resume {run} {_word(file)}" if file else f"runs resume {run}"
        steps.append((command_for(home, resume), "go on with what has not succeeded"))
    else:
        steps.append((command_for(home, f"runs show {run}"), "tasks, times, outputs"))
    if any(task["state"] == "CACHED" for task in leaves(report)):
        steps.append((command_for(home, f"cache why {run}"), "why tasks were reused or ran"))
    if report["mlflow_url"]:
        steps.append((command_for(home, f"mlflow {run}"), "its parameters, metrics and models in MLflow"))
    rows = [[f"  {style.paint(command, 'cyan')}", style.paint(text, "dim")] for command, text in steps]
    return ["", *table(rows), *link_line(home, run, style)]


def link_line(home: Home, run: str, style: Style) -> list[str]:
    """The run in a browser. A person gets a link that lets theirs in; what goes into a file gets none that does."""
    from mlplatform.server.links import entry_url

    url = entry_url(home, run, ticket=is_terminal(sys.stdout))
    return [f"  {style.paint(url, 'cyan')}"] if url else []


def _word(text: str) -> str:
    import shlex

    return shlex.quote(text)


def show(report: Report, home: Home, style: Style) -> list[str]:
    """``runs show``: everything of a run on one page."""
    facts: Sequence[tuple[str, str]] = [
        ("pipeline", clean(report["pipeline"])),
        ("experiment", clean(report["experiment"])),
        ("created", moment(report["created_at"])),
        ("tags", clean(", ".join(f"{name}={text}" for name, text in report["tags"].items()))),
        ("note", clean(report["note"])),
        ("mlflow", report["mlflow_url"]),
    ]
    lines = [verdict(report, style)]
    lines += table([[f"  {style.paint(name, 'dim')}", text] for name, text in facts if text])
    if report["parameters"]:
        lines += ["", style.paint("parameters", "bold")]
        lines += table([[f"  {clean(name)}", value(found)] for name, found in report["parameters"].items()])
    if report["outputs"]:
        lines += ["", style.paint("outputs", "bold"), *outputs(report, style)]
    lines += ["", style.paint("tasks", "bold"), *task_table(report, style)]
    for task in failures(report)[:_FAILURES]:
        lines += ["", *failure(task, style)]
    if report["state"] in ("FAILED", "CANCELLED"):
        lines += next_steps(report, home, style)
    return lines


def task_table(report: Report, style: Style) -> list[str]:
    """Every task with its state, duration and the reason for what happened."""
    rows: list[list[str]] = []
    for task in leaves(report):
        start, end = task["started_at"], task["finished_at"]
        seconds = end - start if start and end and task["state"] != "CACHED" else None
        why = clean(task["why"])
        rows.append(
            [
                f"  {style.glyph(task['state'])} {clean(key_of(task))}",
                task["state"].lower(),
                duration(seconds),
                style.paint(why if len(why) <= _WIDTH else why[: _WIDTH - 3] + "...", "dim"),
            ]
        )
    return table(rows, right=(2,)) or ["  none has begun"]


def moment(seconds: float | None) -> str:
    """A time of day here, with the date; empty for None."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""
