# pyright: basic
"""What the notebook's cells log to MLflow lands in the run of the task that runs them; what MLflow is set to is state.

The hook (``mlplatform/tracking/userhook.py``) is loaded once a session and told when a task begins and ends. Variables
that tracking sets are the platform's: they are in no checkpoint and in no key.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..attempt import hook_code
from .guard import tried

_OURS = ("MLFLOW_", "MLPLATFORM_MLFLOW_")


class Tracking:
    """Follows the tasks of one session. ``say``: where trouble with tracking is told; it fails no task."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._hooks: dict[str, dict[str, Any]] = {}
        self._set: dict[str, str] = {}

    def begin(self, spec: Mapping[str, Any]) -> None:
        """What is logged from here on belongs to the task of this spec."""
        env = {name: str(value) for name, value in spec["env"].items() if name.startswith(_OURS)}
        self._environment(env)
        for path in spec.get("hooks") or ():
            if path not in self._hooks:
                space: dict[str, Any] = {"__name__": "mlplatform_hook", "__file__": path}
                _, problem = tried(lambda path=path, space=space: exec(hook_code(path), space))  # noqa: S102
                self._hooks[path] = space
                self._tell(path, problem)
        self._call("begin_task")

    def end(self) -> None:
        """The task's cells have run."""
        self._call("end_task")

    def silently(self, spec: Mapping[str, Any], job: Callable[[], Any]) -> None:
        """Run cells whose logging is there already: it goes to a folder that nobody looks at."""
        if not self._hooks:
            job()
            return
        before = dict(self._set)
        folder = os.path.join(spec["notebook"]["folder"], "silent-%d" % os.getpid())
        self._environment({"MLFLOW_TRACKING_URI": "file://" + folder, "MLFLOW_ALLOW_FILE_STORE": "true"})
        self._call("begin_task", True)
        try:
            job()
        finally:
            os.environ["MLPLATFORM_MLFLOW_SILENT"] = "file://" + folder
            self._environment(before)
            self._call("begin_task")
            os.environ.pop("MLPLATFORM_MLFLOW_SILENT", None)
            shutil.rmtree(folder, ignore_errors=True)

    def _environment(self, env: Mapping[str, str]) -> None:
        """Set these variables in place of those set last; one that the notebook has set since is the notebook's."""
        for name in {*self._set, *env}:
            if name in self._set and os.environ.get(name) != self._set[name]:
                continue
            if name in env:
                os.environ[name] = env[name]
            else:
                os.environ.pop(name, None)
        self._set = dict(env)

    def _call(self, function: str, *arguments: Any) -> None:
        for path, space in self._hooks.items():
            if function in space:
                self._tell(path, tried(space[function], *arguments)[1])

    def _tell(self, path: str, problem: Any) -> None:
        if problem is not None:
            self._say("mlplatform: the hook %s failed: %r" % (path, problem))


# ------------------------------------------------------------------ autologging
def autologging() -> dict[str, Any]:
    """What ``mlflow.autolog()`` and those of single libraries were called with; empty if they were not. What the first
    did by itself to libraries that came later is left out."""
    utils: Any = sys.modules.get("mlflow.utils.autologging_utils")
    found: dict[str, Any] = {}
    for name, config in list(getattr(utils, "AUTOLOGGING_INTEGRATIONS", {}).items()):
        if config and not config.get("globally_configured"):
            found[name] = dict(config)
    return found


def set_autologging(told: Mapping[str, Any]) -> None:
    """Call them again. Raises what they raise."""
    for name in sorted(told, key=lambda name: name != "mlflow"):
        module: Any = importlib.import_module("mlflow" if name == "mlflow" else "mlflow." + name)
        module.autolog(**told[name])
