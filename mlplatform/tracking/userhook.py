# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
"""Makes every way of using MLflow land in the task's own run. Executed in the task's process before user code.

Stand-alone: Python 3.9+, standard library only, nothing of mlplatform; it does not import mlflow (that takes 1.6 s) but
waits until the user does. What it changes, and only while the tracking URI is the one this task was given:

- ``mlflow.log_*`` and autologging without a run of their own go to the task's run, before, between and after blocks
- the first ``with mlflow.start_run():`` is the task's run, later ones are its children (plain MLflow: with a run held
  open they would raise, with only MLFLOW_RUN_ID set what comes after the block would go to a stray run)
- ``mlflow.end_run()`` and ``mlflow.set_experiment()`` never detach or finish it
- in a notebook's session, which runs many tasks, :func:`begin_task` and :func:`end_task` turn all of it to the next
  task's run; a run that a cell started and left open goes on as the run of each task that follows

``mlflow.set_tracking_uri(...)`` to another server gives plain MLflow, with the user's own credentials.
"""

import atexit
import importlib.abc
import importlib.machinery
import json
import os
import sys
import threading

_FLUENT = "mlflow.tracking.fluent"
_CREDENTIALS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_AUTH")


class _TaskRun:
    """The task's run in this process. ``uri`` is empty while nothing is to land anywhere."""

    def __init__(self):
        self.lock = threading.Lock()
        self.implicit = set()  # ids of the ActiveRun objects that plain logging put on the stack
        self.silent = False  # cells run only for the state they leave
        self.carried = False  # an earlier task of the session left its start_run() open
        self.turn()

    def turn(self):
        """Take the variables of the task that begins."""
        self.uri = os.environ.get("MLPLATFORM_MLFLOW_URI") or ""
        self.run_id = os.environ.get("MLPLATFORM_MLFLOW_RUN_ID") or ""
        self.used_by_block = False  # a start_run() has taken the task's run
        self.ours = {name: os.environ.get(name) for name in _CREDENTIALS}
        try:
            self.theirs = json.loads(os.environ.get("MLPLATFORM_MLFLOW_REPLACED") or "{}")
        except ValueError:
            self.theirs = {}


def _same(left, right):
    return str(left or "").rstrip("/") == str(right or "").rstrip("/")


def _patch(fluent, task):
    """Replace what has to be replaced in ``mlflow.tracking.fluent``; returns {original: replacement}."""
    implicit = task.implicit

    def here():
        return bool(task.uri) and _same(fluent._resolve_tracking_uri(), task.uri)

    def stack():
        return fluent._active_run_stack.get()

    def held(runs):
        """The task's run, put there by plain logging, is all there is."""
        return len(runs) == 1 and id(runs[0]) in implicit

    def own_run():
        return fluent.ActiveRun(fluent.MlflowClient().get_run(task.run_id))

    original_start, original_end, original_active = fluent.start_run, fluent.end_run, fluent.active_run
    original_get_or_start, original_set_experiment = fluent._get_or_start_run, fluent.set_experiment

    def carry():
        """What an earlier task left open is this task's run now."""
        if task.carried and here() and not stack():
            task.carried, task.used_by_block = False, True
            stack().append(own_run())

    def active_run():
        carry()
        return original_active()

    def leave():
        """The task ends: as at the end of a process, what it left open is closed."""
        runs = stack()
        while runs and here():
            if id(runs[-1]) in implicit:
                implicit.discard(id(runs.pop()))
            else:
                task.carried = True
                original_end()

    def get_or_start_run():
        carry()
        runs = stack()
        if runs or not here():
            return original_get_or_start()
        run = own_run()
        implicit.add(id(run))
        runs.append(run)
        return run

    def adopt(run_name, tags, description, log_system_metrics):
        """The task's run as if the user had just created it."""
        return original_start(run_id=task.run_id, run_name=run_name, tags=tags, description=description,
                             log_system_metrics=log_system_metrics)  # fmt: skip

    def start_run(run_id=None, experiment_id=None, run_name=None, nested=False, parent_run_id=None, tags=None,
                  description=None, log_system_metrics=None):  # fmt: skip
        if not here():
            nested = nested or task.silent  # they ran well with the rules below: plain MLflow's must not stop them now
            return original_start(run_id, experiment_id, run_name, nested, parent_run_id, tags, description,
                                  log_system_metrics)  # fmt: skip
        carry()
        runs = stack()
        if held(runs):
            implicit.discard(id(runs.pop()))
        if run_id:
            return original_start(run_id, experiment_id, run_name, nested, parent_run_id, tags, description,
                                  log_system_metrics)  # fmt: skip
        if not runs and parent_run_id is None:
            with task.lock:
                first, task.used_by_block = not task.used_by_block, True
            if first:
                return adopt(run_name, dict(tags or {}), description, log_system_metrics)
            parent_run_id = task.run_id
        return original_start(None, None, run_name, nested, parent_run_id, tags, description, log_system_metrics)

    def end_run(status="FINISHED"):
        runs = stack()
        if here() and (held(runs) or (task.carried and not runs)):
            task.carried = False
            return None  # the engine ends the task's run
        return original_end(status)

    def set_experiment(*args, **kwargs):
        if not here():
            return original_set_experiment(*args, **kwargs)
        before, variable = fluent._active_experiment_id, os.environ.get("MLFLOW_EXPERIMENT_ID")
        try:
            return original_set_experiment(*args, **kwargs)
        finally:
            fluent._active_experiment_id = before
            if variable is not None:
                os.environ["MLFLOW_EXPERIMENT_ID"] = variable

    pairs = ((start_run, original_start), (end_run, original_end), (active_run, original_active),
             (set_experiment, original_set_experiment))  # fmt: skip
    for new, old in pairs:
        new.__doc__, new.__module__, new.__qualname__, new.__wrapped__ = old.__doc__, old.__module__, old.__name__, old
    fluent._mlplatform_here, fluent._mlplatform_leave = here, leave
    replaced: dict = {original_get_or_start: get_or_start_run}
    replaced.update({old: new for new, old in pairs})
    return replaced


def _install_models(module, task):
    """``log_model`` without a run makes a model that belongs to none; a task's model belongs to the task's run."""
    if getattr(module, "_mlplatform_run", None) == task.run_id:
        return
    module._mlplatform_run = task.run_id
    original = module.Model.__dict__["log"].__func__

    def log(cls, *args, **kwargs):
        fluent = sys.modules.get(_FLUENT)
        if fluent is not None and fluent._mlplatform_here() and not kwargs.get("run_id"):
            fluent._get_or_start_run()
        return original(cls, *args, **kwargs)

    log.__doc__ = original.__doc__
    module.Model.log = classmethod(log)


def _with_credentials_of(task, original):
    """``set_tracking_uri``: another server gets the user's credentials, never this task's token."""

    def set_tracking_uri(uri):
        back = _same(uri, task.uri)
        for name in _CREDENTIALS:
            value = task.ours.get(name) if back else task.theirs.get(name)
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            if not back and not task.theirs.get(name):
                os.environ.pop(name, None)
        return original(uri)

    set_tracking_uri.__doc__ = original.__doc__
    set_tracking_uri.__wrapped__ = original
    return set_tracking_uri


def _replace_everywhere(replaced):
    """Other modules of mlflow may hold the functions under names of their own."""
    for name, module in list(sys.modules.items()):
        if module is None or not (name == "mlflow" or name.startswith("mlflow.")):
            continue
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            try:
                new = replaced.get(value)
            except TypeError:  # not hashable: not a function
                continue
            if new is not None:
                setattr(module, attribute, new)


def _install(fluent, task):
    if getattr(fluent, "_mlplatform_run", None) == task.run_id:
        return
    fluent._mlplatform_run = task.run_id
    replaced = _patch(fluent, task)
    utils = sys.modules.get("mlflow.tracking._tracking_service.utils")
    original = getattr(utils, "set_tracking_uri", None)
    if original is not None:
        replaced[original] = _with_credentials_of(task, original)
    _replace_everywhere(replaced)


#: What is changed, once the module has been loaded.
_PATCHES = {_FLUENT: _install, "mlflow.models.model": _install_models}


class _Loader(importlib.abc.Loader):
    """The module's own loader, and then us."""

    def __init__(self, loader, patch, task):
        self._loader = loader
        self._patch = patch
        self._task = task

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        self._patch(module, self._task)

    def __getattr__(self, name):
        return getattr(self._loader, name)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that are changed."""

    def __init__(self, task):
        self._task = task

    def find_spec(self, fullname, path, target=None):
        patch = _PATCHES.get(fullname)
        if patch is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None or spec.loader is None:
            return None
        spec.loader = _Loader(spec.loader, patch, self._task)
        return spec


def install():
    """Prepare this process for its task."""
    task = _TaskRun()
    if not task.uri or not task.run_id:
        return None
    loaded = [name for name in _PATCHES if name in sys.modules]
    for name in loaded:
        _PATCHES[name](sys.modules[name], task)
    if len(loaded) < len(_PATCHES):
        sys.meta_path.insert(0, _Finder(task))
    return task


def begin_task(silent=False):
    """In a session: a task begins whose variables are in the environment. ``silent``: what is logged until the next one
    begins goes wherever MLFLOW_TRACKING_URI says and to no task (cells that only restore a state)."""
    fluent = sys.modules.get(_FLUENT)
    utils = sys.modules.get("mlflow.tracking._tracking_service.utils")
    if _task is None:
        return
    if fluent is not None:
        fluent._active_run_stack.get().clear()
        fluent._active_experiment_id = None
    before = _task.uri or os.environ.get("MLPLATFORM_MLFLOW_SILENT")
    _task.turn()
    _task.silent = silent
    if silent:
        _task.uri = ""
    if utils is not None and getattr(utils, "_tracking_uri", None) and _same(utils._tracking_uri, before):
        utils._tracking_uri = os.environ.get("MLFLOW_TRACKING_URI")


def end_task():
    """In a session: a task has ended."""
    fluent = sys.modules.get(_FLUENT)
    if _task is not None and fluent is not None:
        finish()
        fluent._mlplatform_leave()


def finish():
    """Bring asynchronous logging to its end."""
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None and _FLUENT in sys.modules:
        flush = getattr(mlflow, "flush_async_logging", None)
        if flush is not None:
            flush()


atexit.register(finish)
_task = install()
