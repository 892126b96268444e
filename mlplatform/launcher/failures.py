"""What went wrong, told from the user's own code on."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Optional

from .lines import NAMED

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_HINT = {
    "ModuleNotFoundError": (
        "Install the package where the task runs, or name it in the component: packages_to_install=[...]."
    ),
    "MemoryError": "The task ran out of memory: process less at once, or ask for more.",
}


class AttemptFailed(Exception):
    """An attempt failed for a reason that is not an exception of the user's code."""

    def __init__(self, code: str, message: str, hint: str = "", kind: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.kind = kind


def error(code: str, message: str, *, kind: str = "", text: str = "", hint: str = "") -> dict[str, str]:
    """The ``error`` member of result.json."""
    return {"code": code, "message": message, "type": kind, "traceback": text, "hint": hint}


def describe(failure: BaseException, ours: Sequence[str] = (), user_file: str = "") -> dict[str, str]:
    """An exception that came out of user code. ``ours``: folders besides the launcher's whose frames are dropped where
    they lie before the first of the user's own (kfp's runtime). ``user_file``: where the user's code is; an exception
    that never passed through it (kfp refusing a returned value) has no traceback worth showing."""
    if isinstance(failure, AttemptFailed):
        return error(failure.code, failure.message, kind=failure.kind, hint=failure.hint)
    kind = type(failure).__name__
    message = _message(failure)
    if isinstance(failure, SystemExit):
        message = _exit_message(failure)
    text = user_traceback(failure, ours, user_file)
    return error("TASK_FAILED", message, kind=kind, text=text, hint=_HINT.get(kind, ""))


def _message(failure: BaseException) -> str:
    try:
        words = str(failure)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything, and the failure must still be told
        words = "<its text cannot be had>"
    name = type(failure).__name__
    return f"{name}: {words}" if words else name


def _exit_message(failure: SystemExit) -> str:
    if isinstance(failure.code, str):
        return "the task called sys.exit(): " + failure.code
    return "the task called sys.exit(%s)" % (failure.code,)


def user_traceback(failure: BaseException, ours: Sequence[str] = (), user_file: str = "") -> str:
    """The traceback beginning at the first frame that is neither the launcher's nor kfp's; causes likewise."""
    if user_file and not _passes(failure.__traceback__, user_file):
        failure.__traceback__ = None
    folders = (_HERE, "<frozen importlib", "<mlplatform ", *(os.path.join(folder, "") for folder in ours))
    seen: set[int] = set()
    current: Optional[BaseException] = failure
    pending: list[BaseException] = []
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        current.__traceback__ = _strip(current.__traceback__, folders)
        if current.__cause__ is not None and current.__context__ is not None:
            pending.append(current.__context__)
        current = current.__cause__ or current.__context__ or (pending.pop() if pending else None)
    try:
        return "".join(traceback.format_exception(type(failure), failure, failure.__traceback__))
    except Exception:  # noqa: BLE001 - a user's exception may break its own formatting; the frames are still worth having
        return "".join(traceback.format_tb(failure.__traceback__)) + type(failure).__name__ + "\n"


def _strip(trace: Optional[TracebackType], folders: tuple[str, ...]) -> Optional[TracebackType]:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(folders):
        trace = trace.tb_next
    return trace


def _passes(trace: Optional[TracebackType], file: str) -> bool:
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file or trace.tb_frame.f_code.co_filename in NAMED:
            return True
        trace = trace.tb_next
    return False


def signal_message(name: str) -> Mapping[str, Any]:
    """For a command that was ended by a signal."""
    hint = {
        "SIGKILL": "The usual cause is memory: process less at once, or ask for more.",
        "SIGSEGV": "A native library crashed; the last lines of the log may say which.",
    }.get(name, "")
    return error("TASK_FAILED", "the command was ended by " + name, kind=name, hint=hint)
