"""A service that speaks the protocol and does nothing, so that clients can be tested against its moods.

It can go away in the middle of an answer, answer late, or not at all. ``test_fake.py`` holds it against the real one.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlplatform import __version__

Answer = Callable[[Mapping[str, Any]], Any]


class Gone(Exception):
    """Raised by an answer: the connection is closed without a word, as by kill -9."""


class FakeService:
    """Listens on a socket; ``operations`` and ``streams`` say what it answers. ``heard`` keeps every request."""

    def __init__(self, path: Path) -> None:
        self.heard: list[dict[str, Any]] = []
        self.version = __version__
        self.active = 0
        self.operations: dict[str, Answer] = {
            "hello": lambda args: self._hello(),
            "submit": lambda args: {"run_id": args.get("run_id") or "r1"},
            "cancel": lambda args: {"run_id": args["run_id"]},
            "resume": lambda args: {"run_id": args["run_id"]},
            "delete": lambda args: {"run_id": args["run_id"]},
            "annotate": lambda args: {"run_id": args["run_id"]},
            "cache_clear": lambda args: {"removed": 0},
            "why": lambda args: {
                "run_id": args["run_id"],
                "task": args["task"],
                "why": "",
                "state": "",
                "cached_from": "",
            },
            "plan": lambda args: {"tasks": []},
            "gc": lambda args: {"runs": [], "bytes": 0, "environments": 0, "problems": []},
            "status": lambda args: {**self._hello(), "trouble": "", "capacity": {}},
            "flush_tracking": lambda args: {"done": True},
            "stay": lambda args: {"stays": True},
            "schedules_changed": lambda args: {},
            "train": lambda args: {"name": args["object"]["metadata"]["name"]},
            "train_change": lambda args: {"name": args["name"]},
            "train_delete": lambda args: {"name": args["name"]},
            "stop": lambda args: self._stop(),
        }
        self.streams: dict[str, Callable[[Mapping[str, Any]], Iterator[Mapping[str, Any]]]] = {
            "watch": lambda args: iter(()),
        }
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _hello(self) -> dict[str, Any]:
        return {"version": self.version, "pid": 1, "home": "", "active": self.active}

    def _stop(self) -> dict[str, Any]:
        return {"pid": 1}

    def close(self) -> None:
        self._listener.close()

    def __enter__(self) -> FakeService:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def asked(self, operation: str) -> list[dict[str, Any]]:
        """The arguments of every request for an operation."""
        return [request["args"] for request in self.heard if request["op"] == operation]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            try:
                for line in lines:
                    request = json.loads(line)
                    self.heard.append(request)
                    for answer in self._answers(request):
                        connection.sendall(json.dumps({"id": request["id"], **answer}).encode() + b"\n")
            except (Gone, OSError):
                return

    def _answers(self, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        operation, args = request["op"], request["args"]
        if operation in self.streams:
            for event in self.streams[operation](args):
                yield {"event": event}
            yield {"result": None}
            return
        result = self.operations[operation](args)
        if isinstance(result, Exception):
            yield {"error": result.to_json()}  # type: ignore[attr-defined]
        else:
            yield {"result": result}
