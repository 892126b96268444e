"""Where the user's own code stands, for messages that name the line."""

from __future__ import annotations

import linecache
import os
import sys
from types import FrameType

_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep


def user_frame() -> FrameType | None:
    """The innermost frame that is not this package's."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame


def user_line() -> str:
    """``train.py, line 12: if acc.output > .9:``; "" where there is no user code."""
    frame = user_frame()
    if frame is None:
        return ""
    file, number = frame.f_code.co_filename, frame.f_lineno
    place = "the cell" if file.startswith("<ipython-input") or "ipykernel_" in file else os.path.basename(file)
    text = linecache.getline(file, number).strip()
    return f"{place}, line {number}: {text}" if text else f"{place}, line {number}"
