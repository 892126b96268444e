# pyright: basic
"""One task of a notebook in a process, and a machine, of its own: it begins from what the task before it left in a
folder, and leaves such a folder for the next. That is how notebooks run where tasks are pods.

The folder (an artifact of the run) is all there is to go on from: ``state.json``, and beside it snapshots
(``groups``, ``parts``), copies of the files in the notebook's folder (``files``), and single values of variables that
no snapshot holds (``values``). The first task's has the notebook's folder as it was when the run began.
Nothing in it tells the time or the run, so the same work leaves the same bytes, and what comes after can be reused.
"""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import stat
import time
import traceback
from collections.abc import Mapping
from typing import Any, Optional

from .. import surroundings, tree
from ..attempt import forget_secrets, read_spec
from ..failures import AttemptFailed
from ..outputs import collect, prepare_folders
from ..result import write_result
from . import veil
from .checkpoint import group_path
from .files import put_back, store_file
from .guard import tried
from .streams import Log
from .tasks import LostState, Tasks, failure

#: Names of the artifacts that tasks pass on: no parameter can be called so.
STATE = "notebook-state"
CELLS = "notebook-cells"
VERSION = 1
#: Raised where the folder of a notebook has more than pods can carry from one to the next.
MOST = 2 << 30

_KEPT = ("groups", "parts", "files", "values")


def main(path: str) -> None:
    """The process; does not return."""
    surroundings.own_session()
    surroundings.adopt_orphans()
    faulthandler.enable(os.dup(2))
    spec = read_spec(path)
    forget_secrets(path, spec)
    started = time.time()
    log = Log(os.dup(2))
    log.open(surroundings.open_log(spec["log"]))
    result, problem = tried(_attempt, spec, log)
    if problem is not None:
        result = _told(problem, log)
    log.close()
    result = {"parameters": {}, "artifacts": {}, **result}
    result.update(version=1, started_at=started, finished_at=time.time())
    write_result(spec["result"], result, [*(spec.get("secrets") or ()), *veil.ours()])
    tree.end_children()
    os._exit(0 if result["state"] == "SUCCEEDED" else 1)


def _told(problem: BaseException, log: Log) -> dict[str, Any]:
    if isinstance(problem, AttemptFailed):
        return failure(problem.code, problem.message)
    text = "".join(traceback.format_exception(type(problem), problem, problem.__traceback__))
    log.write(text.encode("utf-8", "backslashreplace"))
    if isinstance(problem, LostState):
        cause = problem.__cause__ or problem
        told = failure("NOTEBOOK_STATE", "what the tasks before it left cannot be loaded here: %s" % (cause,))
        told["error"]["hint"] = "Its packages must be those of the tasks before it; or run the notebook on one machine."
        return told
    told = failure("SYSTEM", "the task of the notebook could not be run: %r" % (problem,))
    if isinstance(problem, ImportError):
        told["error"]["hint"] = "The image needs ipython and cloudpickle beside what the notebook uses."
    return told


def _attempt(spec: Mapping[str, Any], log: Log) -> dict[str, Any]:
    task = spec["notebook"]
    prepare_folders(spec)
    before = _Folder.read(task["state"])
    library = task["library"]
    os.makedirs(library, exist_ok=True)
    if task["state"]:
        for name in _KEPT:
            _link_tree(os.path.join(task["state"], name), os.path.join(library, name))
    os.makedirs(spec["cwd"], exist_ok=True)
    here = {os.path.join(spec["cwd"], path): digest for path, digest in before.files.items()}
    wrong = put_back(here, os.path.join(library, "files"), lambda digest: False)
    if wrong:
        raise AttemptFailed("NOTEBOOK_STATE", "the notebook's folder cannot be laid out: %s" % wrong)
    told = {
        **task,
        "start": {"names": before.begin["names"], "groups": before.begin["groups"], "files": {}},
        "replay": before.replay,
        "earlier": before.earlier,
        "execution_count": before.count + 1,
        "key": task["cookie"],
        "token": "%s-%04d" % (task["cookie"], task["position"]),
    }
    result = Tasks({**spec, "notebook": told}, log).run({**spec, "notebook": told})
    if result["state"] == "SUCCEEDED":
        record = _read(os.path.join(task["library"], "records", told["key"], told["token"] + ".json"))
        _Folder.after(before, record, told, spec["cwd"], library).write(_place(spec, STATE), library)
        parameters, artifacts = collect(spec)
        result.update(parameters=parameters, artifacts=artifacts)
    return result


def _place(spec: Mapping[str, Any], name: str) -> str:
    return spec["outputs"]["artifacts"][name]["path"]


class _Folder:
    """What a task finds and leaves. ``begin``: the last state that a process can be brought to; ``replay``: tasks since
    then, to be run again for what they leave; ``earlier``: ``[number, source]`` of the cells before; ``count``: how
    many cells have run; ``files``: relative path -> digest; ``names``, ``groups``, ``values``: the state itself."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.begin: dict[str, Any] = told.get("begin") or {"names": {}, "groups": {}}
        self.replay: list[Any] = list(told.get("replay") or ())
        self.earlier: list[Any] = list(told.get("earlier") or ())
        self.count = int(told.get("count") or 0)
        self.files: dict[str, Any] = dict(told.get("files") or {})
        self.names: dict[str, Any] = dict(told.get("names") or {})
        self.groups: dict[str, Any] = dict(told.get("groups") or {})
        self.values: dict[str, str] = dict(told.get("values") or {})
        self.blocks: list[str] = list(told.get("blocks") or ())

    @staticmethod
    def read(folder: str) -> _Folder:
        """Raises AttemptFailed."""
        if not folder:
            return _Folder({})
        told = _read(os.path.join(folder, "state.json"))
        if told.get("version") != VERSION:
            raise AttemptFailed("NOTEBOOK_STATE", "the state of the notebook was written by another version")
        return _Folder(told)

    @staticmethod
    def after(before: _Folder, record: Mapping[str, Any], task: Mapping[str, Any], cwd: str, library: str) -> _Folder:
        """The state when a task has ended."""
        found = _Folder({})
        names = {name: told for name, told in before.names.items() if name not in record["deleted"]}
        found.names = {**names, **{name: list(told) for name, told in record["writes"].items()}}
        groups = {**before.groups, **record["groups"]}
        used = {told[1] for told in found.names.values()}
        found.groups = {group: groups[group] for group in used if group in groups}
        found.blocks = list(record["blocks"])
        found.values = {
            name: digest
            for name, digest in {**before.values, **(record.get("values") or {})}.items()
            if name in found.names and found.groups.get(found.names[name][1], {}).get("why")
        }
        sources = [cell["source"] for cell in task["cells"] if cell["source"].strip()]
        found.count = before.count + len(sources)
        own = [[before.count + number, source] for number, source in enumerate(sources, 1)]
        found.files = _files(cwd, os.path.join(library, "files"))
        if found._stands(library):
            found.begin = {"names": found.names, "groups": found.groups}
            found.earlier = [*before.earlier, *before.later(), *own]
        else:
            again = {**{name: task[name] for name in _AGAIN}, "execution_count": before.count + 1}
            found.begin, found.earlier = before.begin, before.earlier
            found.replay = [*before.replay, again]
        return found

    def later(self) -> list[list[Any]]:
        """``[number, source]`` of the cells that are to be run again."""
        return [
            [task["execution_count"] + number, cell]
            for task in self.replay
            for number, cell in enumerate(one["source"] for one in task["cells"] if one["source"].strip())
        ]

    def _stands(self, library: str) -> bool:
        """Whether a process can be brought to it."""
        return not self.blocks and all(
            told[1] in self.groups
            and not self.groups[told[1]].get("why")
            and os.path.exists(group_path(library, told[1]))
            for told in self.names.values()
        )

    def write(self, target: str, library: str) -> None:
        """The folder that the next task finds. Raises OSError, AttemptFailed."""
        os.makedirs(target)
        groups = {told[1] for told in (*self.begin["names"].values(), *self.names.values())}
        size = 0
        for group in sorted(groups):
            size += _link(group_path(library, group), group_path(target, group))
        # Pieces of large memory are named in snapshots alone: those of this run are few, and all are taken along.
        for digest in {each for each in self.files.values() if each}:
            size += _link(os.path.join(library, "files", digest), os.path.join(target, "files", digest))
        for digest in set(self.values.values()):
            size += _link(os.path.join(library, "values", digest), os.path.join(target, "values", digest))
        size += _link_tree(os.path.join(library, "parts"), os.path.join(target, "parts"))
        if size > MOST:
            raise AttemptFailed(
                "NOTEBOOK_STATE",
                "the notebook's variables and files have %.1f GB after this task: pods pass on 2 GB" % (size / 1e9),
            )
        told = {"version": VERSION, **{name: getattr(self, name) for name in _TOLD}}
        with open(os.path.join(target, "state.json"), "w", encoding="ascii") as file:
            json.dump(told, file, sort_keys=True, separators=(",", ":"))


_TOLD = ("begin", "replay", "earlier", "count", "files", "names", "groups", "values", "blocks")
_AGAIN = ("name", "position", "cells", "may_read", "may_write", "whole_namespace", "values")


def _files(cwd: str, store: str) -> dict[str, Optional[str]]:
    """What is in the notebook's folder, each file kept by content."""
    found: dict[str, Optional[str]] = {}
    for folder, folders, names in os.walk(cwd):
        folders[:] = sorted(name for name in folders if name not in ("__pycache__", ".ipynb_checkpoints"))
        relative = os.path.relpath(folder, cwd)
        if relative != "." and not names and not folders:
            found[relative] = ""
        for name in sorted(names):
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                found[os.path.normpath(os.path.join(relative, name))] = store_file(path, store)
    return found


def _link_tree(source: str, target: str) -> int:
    size = 0
    for folder, _, names in os.walk(source):
        for name in names:
            path = os.path.join(folder, name)
            size += _link(path, os.path.join(target, os.path.relpath(path, source)))
    return size


def _link(source: str, target: str) -> int:
    """The same file at another place; bytes, 0 where there is none."""
    if os.path.exists(target) or not os.path.exists(source):
        return 0
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return os.stat(target).st_size


def _read(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        return json.load(file)
