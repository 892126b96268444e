"""What the launcher's command line asks for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> None:
    """Does not return."""
    if len(arguments) >= 2 and arguments[0] in ("--template", "--spare"):
        from . import template

        serve = template.serve if arguments[0] == "--template" else template.wait_for_one
        serve(int(arguments[1]), arguments[2:])
        os._exit(0)
    if len(arguments) == 2 and arguments[0] == "--notebook":
        from .notebook import session

        session.main(int(arguments[1]))
    if len(arguments) == 2 and arguments[0] == "--notebook-alone":
        from .notebook import alone

        alone.main(arguments[1])
    if len(arguments) == 2 and arguments[0] == "--notebook-guest":
        from .notebook import door

        door.main(arguments[1])
    if len(arguments) == 2 and arguments[0] == "--notebook-values":
        from .notebook import values

        values.main(arguments[1])
        os._exit(0)
    if len(arguments) >= 4 and arguments[0] == "--rank":
        from . import rank

        os._exit(rank.main(arguments[1:]))
    if len(arguments) == 2 and arguments[0] == "--task-rank":
        from . import taskrank
        from .preload import extend_path

        extend_path()
        _with_trace(arguments)
        os._exit(taskrank.main(arguments[1]))
    if len(arguments) != 1:
        raise SystemExit("usage: launcher SPEC.json")
    from .attempt import forget_secrets, read_spec, run_attempt
    from .preload import extend_path

    extend_path()
    _with_trace(arguments)
    spec = read_spec(arguments[0])
    forget_secrets(arguments[0], spec)
    os._exit(run_attempt(spec))


def _with_trace(arguments: Sequence[str]) -> None:
    """An attempt that is to be traced needs the interposer from the start: begin again with it, if it is packaged (or
    the spec knows where it is). The spec is the last of the arguments."""
    from . import trace

    if trace.native() is not None:
        return
    with open(arguments[-1], "rb") as file:
        spec = json.load(file)
    packaged = os.path.join(os.path.dirname(os.path.abspath(__file__)), "native", "libmlptrace.so")
    library = packaged if os.path.exists(packaged) else spec.get("library") or ""
    if not library or not spec.get("trace") or library in os.environ.get("LD_PRELOAD", ""):
        return
    os.environ["LD_PRELOAD"] = trace.preload_value(library, os.environ.get("LD_PRELOAD", ""))
    door = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
    os.execv(sys.executable, [sys.executable, door, *arguments])  # noqa: S606 - there is no shell to want
