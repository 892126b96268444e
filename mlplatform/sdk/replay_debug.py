"""What replays of every kind share: the surroundings of a call, and the debugger at the line that failed."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Generator, Mapping, Set
from contextlib import chdir, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from mlplatform.launcher.lines import NAMED


@contextmanager
def surroundings(workdir: Path | None, environment: Mapping[str, str] | None) -> Generator[None]:
    """The working folder and the variables that the component sets, while it is called."""
    before = {name: os.environ.get(name) for name in environment or {}}
    os.environ.update(environment or {})
    try:
        with chdir(workdir or os.getcwd()):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def shell() -> Any:
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()


def _is_own(file: str, own: Set[str]) -> bool:
    """Whether a frame of this file is the task's own code: its source, or what that was put together from."""
    return file in own or file in NAMED


def _from_own(trace: TracebackType | None, own: Set[str]) -> TracebackType | None:
    """The traceback from the first frame of the task's own code on."""
    start = trace
    while start is not None and not _is_own(start.tb_frame.f_code.co_filename, own):
        start = start.tb_next
    return start or trace


def traceback_text(error: BaseException, own: Set[str]) -> str:
    """The traceback of an error, beginning in the task's own code: files ``own``."""
    return "".join(traceback.format_exception(type(error), error, _from_own(error.__traceback__, own)))


def debugger() -> Any:
    """IPython's debugger where there is one, else Python's. Ctrl-C keeps its meaning when the debugger has gone."""
    if shell() is not None:
        from IPython.core.debugger import Pdb

        return Pdb(nosigint=True)
    import pdb

    return pdb.Pdb(nosigint=True)


def post_mortem(trace: TracebackType | None, own: Set[str]) -> None:
    """Open at the innermost line of the task's own code, with the frames below it one ``down`` away."""
    trace = _from_own(trace, own)
    opened = debugger()
    below = 0
    frames: list[str] = []
    at = trace
    while at is not None:
        frames.append(at.tb_frame.f_code.co_filename)
        at = at.tb_next
    for file in reversed(frames):
        if _is_own(file, own):
            break
        below += 1
    if below < len(frames):
        opened.rcLines = [*cast("list[str]", opened.rcLines), *(["up"] * below)]
    opened.reset()
    opened.interaction(None, trace)
