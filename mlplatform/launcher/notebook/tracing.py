# pyright: basic
"""Watching what each task of a session looks at outside the notebook's variables."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import Any, Optional

from .. import variables
from ..trace import Tracer
from . import files


class TaskTracer(Tracer):
    """As for any attempt, but many times in one process."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__(spec)
        variables._read.clear()
        variables._bulk = False  # type: ignore[attr-defined]
        self._stamps: dict[str, Any] = {}

    def start(self) -> None:
        """Raises what any attempt's raises."""
        self._stamps = files.stamps(self._spec["notebook"]["start"].get("files") or {})
        super().start()

    def gate(self, path: str) -> None:
        """Until it stops: what the outside could see ends the process before it happens; ``path`` then says what it
        was. Raises OSError where nothing can watch that."""
        if self._library is None or not hasattr(self._library, "mlp_trace_gate"):
            raise OSError(95, NO_TRACE)
        self._library.mlp_trace_gate.argtypes = (ctypes.c_char_p,)
        problem = self._library.mlp_trace_gate(os.fsencode(path))
        if problem:
            raise OSError(problem, os.strerror(problem), path)

    def of_notebook(self, before: Mapping[str, Optional[str]], store: str) -> dict[str, Any]:
        """Members of a task's record: see :func:`files.findings`. Nothing of the trace is left."""
        if self._floor is not None:
            return {"reads": [], "own_reads": {}, "writes": {}, "sockets": [], "env_read": {}, "doubt": NO_TRACE}
        try:
            found = files.findings(self._path, self._spec, before, store, files.changed(self._stamps))
        except (OSError, ValueError) as problem:
            doubt = "what it read could not be evaluated: %s" % problem
            return {"reads": [], "own_reads": {}, "writes": {}, "sockets": [], "env_read": {}, "doubt": doubt}
        finally:
            if os.path.exists(self._path):
                os.unlink(self._path)
        if found["executed"]:
            variables.everything()
        found["sockets"] = self._foreign(found.pop("peers"))
        # As the submission gave them, whatever tracking added: with tracking and without it is the same task.
        given: Mapping[str, Optional[str]] = self._spec["notebook"].get("given") or {}
        env = {**self._spec["env"], **given}
        env = {name: value for name, value in env.items() if value is not None}
        found["env_read"] = variables.env_read({**self._spec, "env": env})
        return found


NO_TRACE = "what it read cannot be watched on this machine"
