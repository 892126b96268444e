# pyright: basic
"""The outputs of one cell, as a notebook file keeps them.

The rules are those of a kernel's client: text of one stream follows itself, ``clear_output`` empties the cell (at once,
or when the next output comes), an update of a display replaces what bears its id wherever that is.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Optional


class Outputs:
    """Gathers outputs of the cell that runs; any thread may write."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._cell: list[dict[str, Any]] = []
        self._clear_next = False
        #: What is written meanwhile is nobody's output.
        self.muted = False
        #: Displays of the cells of this task, by their id.
        self._displays: dict[str, list[dict[str, Any]]] = {}
        #: Updates of displays, in order, for those that earlier tasks made.
        self.updates: list[dict[str, Any]] = []

    def begin_task(self) -> None:
        """Forget the displays of earlier tasks: their outputs are written down already."""
        with self._lock:
            self._displays = {}
            self.updates = []

    def begin_cell(self) -> None:
        with self._lock:
            self._cell = []
            self._clear_next = False

    def end_cell(self) -> list[dict[str, Any]]:
        """The outputs so far. Updates of this task's displays still change these very objects."""
        with self._lock:
            return self._cell

    # ------------------------------------------------------------------ what may come
    def stream(self, name: str, text: str) -> None:
        if not text or self.muted:
            return
        with self._lock:
            self._clear_if_asked()
            last = self._cell[-1] if self._cell else None
            if last is not None and last["output_type"] == "stream" and last["name"] == name:
                last["text"] += text
            else:
                self._cell.append({"output_type": "stream", "name": name, "text": text})

    def display(self, data: Mapping[str, Any], metadata: Mapping[str, Any], display_id: Optional[str]) -> None:
        output = {"output_type": "display_data", "data": dict(data), "metadata": dict(metadata)}
        self._add(output, display_id)

    def result(
        self, data: Mapping[str, Any], metadata: Mapping[str, Any], count: int, display_id: Optional[str] = None
    ) -> None:
        output = {
            "output_type": "execute_result",
            "execution_count": count,
            "data": dict(data),
            "metadata": dict(metadata),
        }
        self._add(output, display_id)

    def error(self, ename: str, evalue: str, traceback: list[str]) -> None:
        self._add({"output_type": "error", "ename": ename, "evalue": evalue, "traceback": traceback}, None)

    def update(self, data: Mapping[str, Any], metadata: Mapping[str, Any], display_id: str) -> None:
        with self._lock:
            told = {"display_id": display_id, "data": dict(data), "metadata": dict(metadata)}
            self.updates.append(told)
            for output in self._displays.get(display_id, ()):
                output["data"] = dict(data)
                output["metadata"] = dict(metadata)

    def clear(self, wait: bool) -> None:
        with self._lock:
            if wait:
                self._clear_next = True
            else:
                self._clear()

    # ------------------------------------------------------------------ helpers
    def _add(self, output: dict[str, Any], display_id: Optional[str]) -> None:
        with self._lock:
            if self.muted:
                return
            self._clear_if_asked()
            if display_id:
                output["transient"] = {"display_id": display_id}
                self._displays.setdefault(display_id, []).append(output)
            self._cell.append(output)

    def _clear_if_asked(self) -> None:
        if self._clear_next:
            self._clear()

    def _clear(self) -> None:
        self._clear_next = False
        gone = {id(output) for output in self._cell}
        for displayed in self._displays.values():
            displayed[:] = [output for output in displayed if id(output) not in gone]
        self._cell.clear()
