"""``mlplatform doctor``: what of this machine can be used, what is missing, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import click

from mlplatform.cli.checks import LIMITED, OK, PROBLEM, Check, all_checks
from mlplatform.cli.options import common, give
from mlplatform.cli.style import Style, clean, counted, style_of_output
from mlplatform.engine.home import open_home

_GLYPHS = {OK: "SUCCEEDED", LIMITED: "SKIPPED", PROBLEM: "FAILED"}


@click.command()
@common
def doctor(home: str | None, output: str) -> None:
    """Say what of this machine can be used and what is missing. Exit status 1 if runs are in danger."""
    checks = all_checks(open_home(home))
    with ThreadPoolExecutor(4) as threads:  # docker and podman may take seconds to say that they do not answer
        found = list(threads.map(_look, checks))
    problems = [check for check in found if check.state == PROBLEM]
    data = {"usable": not problems, "checks": [check.to_json() for check in found]}
    give(output, data, lambda: _words(found, style_of_output()), status=1 if problems else 0)


def _look(check: Callable[[], Check]) -> Check:
    return check()


def _words(found: list[Check], style: Style) -> list[str]:
    width = max(len(check.name) for check in found)
    lines: list[str] = []
    for check in found:
        lines.append(f"{style.glyph(_GLYPHS[check.state])} {check.name.ljust(width)}  {clean(check.found)}")
        if check.advice:
            lines.append(f"  {' ' * width}  {style.paint(clean(check.advice), 'dim')}")
    problems = sum(check.state == PROBLEM for check in found)
    limited = sum(check.state == LIMITED for check in found)
    verdict = "runs are in danger: " + counted(problems, "problem") if problems else "pipelines can be run"
    return [*lines, "", verdict + (f", with {counted(limited, 'limit')}" if limited else "")]
