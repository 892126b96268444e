# pyright: basic
"""Standard output and error of a session: into the outputs of the cell that runs and into the task's log.

What Python writes comes through :class:`Stream`; what native code and child processes write to descriptors 1 and 2
comes through a pipe that a thread reads, as in a kernel.
"""

from __future__ import annotations

import codecs
import ctypes
import io
import os
import sys
import threading
from collections.abc import Iterable
from typing import Any, Optional

from .collect import Outputs
from .veil import hide

#: How long the pipe may take to give up what was written before a cell ended.
_PATIENCE = 2.0


class Log:
    """The log of the task that runs."""

    def __init__(self, descriptor: int) -> None:
        self._own = descriptor
        self._current = descriptor

    def open(self, descriptor: int) -> None:
        self.close()
        self._current = descriptor

    def close(self) -> None:
        if self._current != self._own:
            os.close(self._current)
        self._current = self._own

    @property
    def descriptor(self) -> int:
        return self._current

    def write(self, data: bytes) -> None:
        data = hide(data)
        try:
            while data:
                data = data[os.write(self._current, data) :]
        except OSError:
            return  # a full disk must not fail the user's print; the result will tell of it


class Stream(io.TextIOBase):
    """``sys.stdout`` or ``sys.stderr`` as a kernel has them."""

    def __init__(self, name: str, outputs: Outputs, log: Log, number: int) -> None:
        self._name = name
        self._outputs = outputs
        self._log = log
        self._number = number

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "<%s>" % self._name

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "UTF-8"

    @property
    def errors(self) -> Optional[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return None

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._number

    def flush(self) -> None:
        return None

    def close(self) -> None:
        return None

    def write(self, text: str) -> int:
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("write() argument must be str, not %s" % type(text).__name__)
        if text:
            self._outputs.stream(self._name, text)
            self._log.write(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def writelines(self, lines: Iterable[Any], /) -> None:
        for line in lines:
            self.write(line)


class Pipe:
    """Takes the place of one descriptor; a thread hands on what comes."""

    def __init__(self, name: str, number: int, outputs: Outputs, log: Log) -> None:
        self._name = name
        self._number = number
        self._outputs = outputs
        self._log = log
        self._mark = b"\0mlplatform:%d:%s\0" % (os.getpid(), os.urandom(8).hex().encode("ascii"))
        self._marked = threading.Event()
        self._read, write = os.pipe()
        os.set_inheritable(write, True)
        os.dup2(write, number)
        os.close(write)
        threading.Thread(target=self._run, name="output-%d" % number, daemon=True).start()

    def drain(self) -> None:
        """Wait until everything that was written so far has been handed on."""
        self._marked.clear()
        try:
            os.write(self._number, self._mark)
        except OSError:
            return  # the user's code has closed it
        self._marked.wait(_PATIENCE)

    def _run(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        held = b""
        while True:
            try:
                piece = os.read(self._read, 1 << 16)
            except OSError:
                return
            if not piece:
                return
            held += piece
            while self._mark in held:
                before, _, held = held.partition(self._mark)
                self._hand_on(before, decoder)
                self._marked.set()
            keep = _overlap(held, self._mark)
            self._hand_on(held[: len(held) - keep], decoder)
            held = held[len(held) - keep :]

    def _hand_on(self, data: bytes, decoder: codecs.IncrementalDecoder) -> None:
        if data:
            self._log.write(data)
            self._outputs.stream(self._name, decoder.decode(data))


def _overlap(data: bytes, mark: bytes) -> int:
    """Length of the longest end of ``data`` with which ``mark`` begins."""
    for length in range(min(len(data), len(mark) - 1), 0, -1):
        if data.endswith(mark[:length]):
            return length
    return 0


class Streams:
    """All of it. ``install`` once; ``drain`` at the end of each cell."""

    def __init__(self, outputs: Outputs, log: Log) -> None:
        self._outputs = outputs
        self._log = log
        self._pipes: list[Pipe] = []

    def install(self) -> None:
        self._pipes = [Pipe(n, i, self._outputs, self._log) for n, i in (("stdout", 1), ("stderr", 2))]
        sys.stdout = Stream("stdout", self._outputs, self._log, 1)
        sys.stderr = Stream("stderr", self._outputs, self._log, 2)

    def drain(self) -> None:
        try:
            ctypes.CDLL(None).fflush(None)
        except (OSError, AttributeError):
            pass
        for pipe in self._pipes:
            pipe.drain()
