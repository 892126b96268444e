"""What a home keeps of its notebooks: records of tasks, snapshots of variables, files that tasks wrote.

::

    HOME/notebooks/
      records/<key>/<token>.json     what a task read and wrote (launcher/notebook/spec.md), with its outputs beside it
      groups/<ab>/<group>            snapshots of variables; GROUP.bad says that one could not be loaded
      parts/<ab>/<digest>            pieces of large memory in snapshots (launcher/notebook/parts.py)
      files/<digest>                 copies of files that tasks wrote into the notebook's folder
      values/<digest>                single values of variables that cannot be restored
      tasks/<notebook and task>.json the cells of the last run of a task: what `why` compares with
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from mlplatform.core.values import child
from mlplatform.engine.notebooks.state import Record, State
from mlplatform.launcher.notebook.files import put_back
from mlplatform.launcher.verify import check_read, digest_of, listing_digest

_CANDIDATES = 20


class Library:
    """The notebooks folder of one home."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._parsed: dict[Path, tuple[int, Record]] = {}

    # ------------------------------------------------------------------ records
    def record(self, key: str, token: str) -> Record | None:
        """One record, or None if it is gone."""
        return self._read(self.root / "records" / key / f"{token}.json")

    def candidates(self, key: str) -> list[Record]:
        """Records with this key that may be reused, newest first."""
        return [record for record in self._newest(key, _CANDIDATES) if not record.get("doubt")]

    def newest(self, key: str) -> Record | None:
        """What a task with this key did last, whether or not that may be reused."""
        return next(iter(self._newest(key, 1)), None)

    def _newest(self, key: str, count: int) -> list[Record]:
        try:
            found = sorted(
                (self.root / "records" / key).glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True
            )
        except OSError:
            return []
        return [record for path in found[:count] if (record := self._read(path)) is not None]

    def _read(self, path: Path) -> Record | None:
        try:
            stamp = path.stat().st_mtime_ns
            known = self._parsed.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            data = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return None
        self._parsed[path] = (stamp, data)
        return cast("Record", data)

    def outputs(self, record: Record, target: Path) -> None:
        """Put the outputs of a reused task where those of one that ran would be. Raises OSError."""
        source = self.root / "records" / str(record["key"]) / f"{record['token']}.outputs"
        temporary = target.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)
        temporary.replace(target)

    def has_outputs(self, record: Record) -> bool:
        return (self.root / "records" / str(record["key"]) / f"{record['token']}.outputs").exists()

    def bad(self, state: State) -> frozenset[str]:
        """Groups of a state that are not there, or could not be loaded when somebody tried."""
        found: set[str] = set()
        for group in {told[1] for told in state.names.values()}:
            if state.groups.get(group, {}).get("why"):
                continue
            path = self.root / "groups" / group[:2] / group
            if not path.exists() or path.with_name(group + ".bad").exists():
                found.add(group)
        return frozenset(found)

    # ------------------------------------------------------------------ files
    @property
    def store(self) -> Path:
        return self.root / "files"

    def is_ours(self, path: str) -> bool:
        """Whether what is there now was written by a task of a notebook (so that nothing of it would be lost)."""
        try:
            return (self.store / digest_of(path, os.stat(path))).exists()
        except (OSError, ValueError):
            return os.path.isdir(path)

    def files_changed(self, record: Record, state: State, written: frozenset[str], env: Mapping[str, str]) -> str:
        """The first file or variable of the environment that a task looked at and that is not as it was.

        Args:
            written: paths that tasks of this notebook are known to write; where one is there only because a *later*
                task wrote it in an earlier run, it is as if it were not.
        """
        files: Mapping[str, Any] = record["files"]
        for name, digest in child(files, "env_read").items():
            now = env.get(name)
            if (None if now is None else _env_digest(now)) != digest:
                return f"environment variable {name} changed"
        for read in files.get("reads") or ():
            problem = self._read_changed(read, state, written)
            if problem:
                return problem
        for path, digest in child(files, "writes").items():
            problem = self._write_gone(path, digest)
            if problem:
                return problem
        return ""

    def _read_changed(self, read: Mapping[str, Any], state: State, written: frozenset[str]) -> str:
        path = str(read["path"])
        kind = read["kind"]
        if path in state.files:
            now = state.files[path]
            if now is None:
                same = kind == "missing"
            elif now == "":
                same = kind == "stat" and read.get("type") == "dir"
            else:
                same = kind == "file" and read.get("digest") == now
            return "" if same or kind in ("listing", "absent") else f"{path}, which it looked at, changed"
        problem = check_read(read)
        if not problem:
            return ""
        if kind == "missing" and path in written and self.is_ours(path):
            return ""
        if kind == "absent":
            names = [name for name in read["names"] if os.path.lexists(os.path.join(path, name))]
            if all(self._left_over(os.path.join(path, name), state, written) for name in names):
                return ""
        if kind == "listing":
            return self._listing_changed(read, path, state, written, problem)
        return problem

    def _listing_changed(
        self, read: Mapping[str, Any], path: str, state: State, written: frozenset[str], problem: str
    ) -> str:
        """The names in a folder without what later tasks had left there, and with what is missing only for now."""
        own = [os.path.basename(one) for one in written if os.path.dirname(one) == path and one not in state.files]
        try:
            digest = listing_digest(path, [*(read.get("except") or ()), *own])
        except OSError:
            return problem
        return "" if digest == read["digest"] else problem

    def _left_over(self, path: str, state: State, written: frozenset[str]) -> bool:
        return path in written and path not in state.files and self.is_ours(path)

    def _write_gone(self, path: str, digest: str | None) -> str:
        if not digest:
            return ""
        try:
            now = digest_of(path, os.stat(path))
        except OSError:
            now = ""
        if now == digest:
            return ""
        if not (self.store / digest).exists():
            return f"{path}, which it had written, is gone"
        if now and not (self.store / now).exists():
            return f"{path}, which it had written, was changed since"
        return ""

    def put_back(self, files: Mapping[str, str | None]) -> str:
        """Make the files of the notebook's folder as ``files`` say; returns why that is not possible, or ""."""
        return put_back(files, str(self.store), self._is_kept) or ""

    def _is_kept(self, digest: str) -> bool:
        return (self.store / digest).exists()

    # ------------------------------------------------------------------ why
    def last_cells(self, identity: str) -> Mapping[str, Any]:
        """What :meth:`remember_cells` was told last; empty if nothing."""
        try:
            data = json.loads(self._task_path(identity).read_bytes())
        except (OSError, ValueError):
            return {}
        return cast("Mapping[str, Any]", data) if isinstance(data, dict) else {}

    def remember_cells(self, identity: str, told: Mapping[str, Any]) -> None:
        """For the next time that somebody asks why a task ran. Raises OSError."""
        path = self._task_path(identity)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(told), encoding="utf-8")
        temporary.replace(path)

    def _task_path(self, identity: str) -> Path:
        return self.root / "tasks" / (hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest() + ".json")


def _env_digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
