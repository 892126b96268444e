"""``launcher install FOLDER`` (the init container; with ``command`` for a task that is no Python), ``launcher run``
(the task's), ``launcher fetch URI PATH``, ``launcher library FOLDER`` (of a training job's ranks)."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Exit status."""
    if arguments[:1] == ["install"] and arguments[2:] in ([], ["command"]) and len(arguments) > 1:
        from .install import install

        return install(arguments[1], guests=len(arguments) == 2)
    if len(arguments) == 2 and arguments[0] == "library":
        from .install import library

        return library(arguments[1])
    if list(arguments) == ["run"]:
        from .run import run

        return run()
    if len(arguments) == 3 and arguments[0] == "fetch":
        from .transfer import fetch_command

        return fetch_command(arguments[1], arguments[2])
    sys.stderr.write("usage: launcher install FOLDER [command] | run | fetch URI PATH | library FOLDER\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
