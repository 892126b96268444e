"""JSON lines over a Unix socket or a pair of pipes, without blocking and without threads."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from typing import Any


class Channel:
    """The template's end of its engine. ``closed`` once the engine is gone."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._buffer = b""
        self.closed = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def _read(self) -> bytes:
        """What has arrived; empty at the end. Raises BlockingIOError: nothing has."""
        return self._socket.recv(1 << 16)

    def receive(self) -> list[dict[str, Any]]:
        """Every whole line that has arrived."""
        while not self.closed:
            try:
                piece = self._read()
            except BlockingIOError:
                break
            except OSError:
                piece = b""
            if not piece:
                self.closed = True
            self._buffer += piece
        *lines, self._buffer = self._buffer.split(b"\n")
        return [json.loads(line) for line in lines if line]

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one line; the engine reads all the time, so that waiting for it is short."""
        if self.closed:
            return
        try:
            self._socket.setblocking(True)
            self._socket.sendall(json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n")
            self._socket.setblocking(False)
        except OSError:
            self.closed = True

    def close(self) -> None:
        self._socket.close()
        self.closed = True


class Pipes(Channel):
    """The same over two pipes, as a container has for its standard input and output."""

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        os.set_blocking(source, False)
        self._buffer = b""
        self.closed = False

    def fileno(self) -> int:
        return self._source

    def _read(self) -> bytes:
        return os.read(self._source, 1 << 16)

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one line."""
        data = json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"
        try:
            while data and not self.closed:
                data = data[os.write(self._target, data) :]
        except OSError:
            self.closed = True

    def close(self) -> None:
        os.close(self._source)
        os.close(self._target)
        self.closed = True
