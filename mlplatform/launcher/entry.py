"""What the launcher's command line asks for."""

from __future__ import annotations

import os
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> None:
    """Does not return."""
    if len(arguments) >= 2 and arguments[0] in ("--template", "--spare"):
        from . import template

        serve = template.serve if arguments[0] == "--template" else template.wait_for_one
        serve(int(arguments[1]), arguments[2:])
        os._exit(0)
    if len(arguments) != 1:
        raise SystemExit("usage: launcher SPEC.json")
    from .attempt import read_spec, run_attempt

    status = run_attempt(read_spec(arguments[0]))
    os._exit(status)
