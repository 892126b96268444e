"""Ids in the texts that pass between tasks and a server: ours in one direction, the server's in the other."""

from __future__ import annotations

import json
import re
from typing import Any

from mlplatform.tracking.queue import Queue

_HEX = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_EXPERIMENT = re.compile(r"(?<![0-9])9[0-9]{17}(?![0-9])")


class Translator:
    """For one server. On the home's own server most ids are the same on both sides."""

    def __init__(self, queue: Queue, upstream: str) -> None:
        self._queue = queue
        self._upstream = upstream

    def values(self, value: Any) -> Any:
        """A JSON value with reserved ids replaced by the server's."""
        return json.loads(self.text(json.dumps(value)))

    def text(self, text: str) -> str:
        """``text`` with every reserved id the server knows under another replaced by that."""

        def run(match: re.Match[str]) -> str:
            found = self._queue.row("SELECT real FROM runs WHERE id = ?", match[0])
            if found is None:
                found = self._queue.row("SELECT substr(real, 3) FROM models WHERE id = ?", "m-" + match[0])
            return (found[0] if found else "") or match[0]

        def experiment(match: re.Match[str]) -> str:
            found = self._queue.row(
                "SELECT real FROM ids WHERE upstream = ? AND reserved = ?", self._upstream, match[0]
            )
            return found[0] if found else match[0]

        return _EXPERIMENT.sub(experiment, _HEX.sub(run, text))

    def versions(self, text: str) -> str:
        """A request with the version numbers we made up (while the server was away) replaced by the server's."""
        if '"9000' not in text:
            return text
        data = json.loads(text)
        key = f"version:{data.get('name')}:{data.get('version')}" if isinstance(data, dict) else ""  # pyright: ignore[reportUnknownMemberType]
        found = self.real_id(key)
        return json.dumps({**data, "version": found}) if found else text

    def real_id(self, reserved: str) -> str:
        row = self._queue.row("SELECT real FROM ids WHERE upstream = ? AND reserved = ?", self._upstream, reserved)
        return row[0] if row is not None else ""

    def back(self, text: str) -> str:
        """A server's answer with the ids tasks know in place of its own."""

        def run(match: re.Match[str]) -> str:
            found = self._queue.row("SELECT id FROM runs WHERE real = ? AND real != id", match[0])
            if found is None:
                found = self._queue.row(
                    "SELECT substr(id, 3) FROM models WHERE real = ? AND real != id", "m-" + match[0]
                )
            return found[0] if found else match[0]

        text = _HEX.sub(run, text)
        for row in self._queue.rows(
            "SELECT reserved, real FROM ids WHERE upstream = ? AND reserved != real AND reserved GLOB '9*'",
            self._upstream,
        ):
            text = re.sub(
                rf'("experiment_id"\s*:\s*"?){re.escape(row["real"])}(?=["\s,}}])', rf"\g<1>{row['reserved']}", text
            )
        return text
