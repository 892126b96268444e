"""Reuse of results: lookup with the trace checked again, and what may be kept for reuse.

A result is reused only if its key is the same (``planning.cachekey``) and everything its task looked at outside its
scratch folder is as it was, and its outputs are still there. Every answer carries the reason in words.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlplatform.core.errors import ArtifactError
from mlplatform.core.model import Artifact, CacheEntry, TaskKey, Values
from mlplatform.core.values import child
from mlplatform.engine.ports import ArtifactStore, RunStore
from mlplatform.launcher.verify import check_reads, describe_file, listing_digest
from mlplatform.planning.cachekey import Parts, Uncacheable, distance, explain

#: Earlier results of a task that are compared to say what changed.
_COMPARED = 10
#: Larger files that a task wrote into the project are not kept for putting back; their task is not cached.
_KEPT_FILE_MAX = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Hit:
    """A result to reuse."""

    outputs: Values
    cached_from: str
    note: str


@dataclass(frozen=True, slots=True)
class Miss:
    """Why the task runs."""

    note: str


def env_digest(value: str) -> str:
    """How the launcher writes down a variable that was read: its value is never kept."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()


class ResultCache:
    """The cache of one home."""

    def __init__(self, store: RunStore, artifacts: ArtifactStore, kept: Path) -> None:
        """``kept``: folder for copies of project files that cached tasks wrote."""
        self._store = store
        self._artifacts = artifacts
        self._kept = kept

    # ------------------------------------------------------------------ reuse
    def lookup(self, parts: Parts, identity: str, env: Mapping[str, str]) -> Hit | Miss:
        """Find a reusable result. Reads the store and files; call it off the event loop."""
        reason = ""
        for entry in self._store.cache_candidates(parts.key):
            difference = self._difference(entry, env)
            if not difference:
                source = f"{entry.run_id}:{entry.task}"
                return Hit(entry.outputs, source, f"nothing it depends on changed since run {entry.run_id}")
            reason = reason or difference
        if reason:
            return Miss(reason)
        similar = self._store.cache_similar(identity, _COMPARED)
        if not similar:
            return Miss("no earlier result of this task is kept")
        # The most like it, the newest of those: somebody who goes back and forth is told of one change, not of two.
        nearest = min(similar, key=lambda entry: distance(entry.parts, parts.values))
        return Miss(explain(nearest.parts, parts.values) or "its earlier result is gone")

    def _difference(self, entry: CacheEntry, env: Mapping[str, str]) -> str:
        for item in entry.trace:
            if item.get("kind") == "env":
                name = str(item["name"])
                now = env.get(name)
                if (None if now is None else env_digest(now)) != item.get("digest"):
                    return f"environment variable {name} changed"
        reads = [dict(item) for item in entry.trace if item.get("kind") != "env"]
        changed = check_reads(reads)
        if changed:
            return changed
        return self._outputs_changed(entry) or self._put_back(entry)

    def _outputs_changed(self, entry: CacheEntry) -> str:
        stamps = {str(item["path"]): item for item in entry.written if item.get("role") == "output"}
        for name, value in entry.outputs.artifacts.items():
            for item in (value,) if isinstance(value, Artifact) else value:
                problem = self._artifact_changed(name, item, stamps)
                if problem:
                    return problem
        return ""

    def _artifact_changed(self, name: str, artifact: Artifact, stamps: Mapping[str, Mapping[str, Any]]) -> str:
        if not artifact.digest or not self._artifacts.is_local(artifact.uri):
            return ""
        path = self._artifacts.local_path(artifact.uri)
        stamp = stamps.get(str(path))
        try:
            status = path.stat()
        except OSError:
            return f"its output {name!r} is no longer there"
        if stamp and path.is_file() and (stamp["size"], stamp["mtime_ns"]) == (status.st_size, status.st_mtime_ns):
            return ""
        try:
            digest, _ = self._artifacts.digest(artifact.uri)
        except ArtifactError:
            return f"its output {name!r} can no longer be read"
        return "" if digest == artifact.digest else f"its output {name!r} was changed after it was written"

    def _put_back(self, entry: CacheEntry) -> str:
        """Restore project files the task had written. One that somebody edited is never overwritten."""
        missing: list[tuple[Path, Path]] = []
        for item in entry.written:
            if item.get("role") != "project":
                continue
            path = Path(str(item["path"]))
            try:
                now = _file_digest(path)
            except FileNotFoundError:
                missing.append((self._kept / str(item["digest"]), path))
                continue
            except OSError:
                return f"{path}, which it had written, cannot be read"
            if now != item["digest"]:
                return f"{path}, which it had written, was changed since"
        for kept, path in missing:
            if not kept.exists():
                return f"{path}, which it had written, is gone"
        for kept, path in missing:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.mlplatform")
            shutil.copyfile(kept, temporary)
            temporary.replace(path)
        return ""

    # ------------------------------------------------------------------ keeping
    def entry(
        self,
        *,
        parts: Parts,
        identity: str,
        run_id: str,
        task: TaskKey,
        outputs: Values,
        raw: Mapping[str, Any],
        project: Path,
        now: float,
    ) -> CacheEntry | Uncacheable:
        """What to keep of a finished task, or why nothing may be kept. ``raw`` is its result.json."""
        author_says_so = bool(parts.values.get("user_key"))
        declared = _declared(parts)
        if raw.get("reads") is None and raw and not author_says_so and not declared:
            return Uncacheable(raw.get("untraced") or "what it read could not be seen")
        if raw.get("untraced") and not author_says_so and not declared:
            return Uncacheable(str(raw["untraced"]))
        if raw.get("sockets") and not author_says_so:
            return Uncacheable(f"it talked to the network ({raw['sockets'][0]})")
        kept = self._keep(raw.get("writes") or (), project, author_says_so)
        if isinstance(kept, Uncacheable):
            return kept
        trace: list[Mapping[str, Any]] = [*(raw.get("reads") or ()), *declared]
        trace += [{"kind": "env", "name": name, "digest": digest} for name, digest in child(raw, "env_read").items()]
        return CacheEntry(
            key=parts.key,
            run_id=run_id,
            task=task,
            outputs=outputs,
            created_at=now,
            identity=identity,
            parts=parts.values,
            trace=tuple(trace),
            written=(*kept, *self._stamps(outputs)),
        )

    def _stamps(self, outputs: Values) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        for value in outputs.artifacts.values():
            for item in (value,) if isinstance(value, Artifact) else value:
                if not self._artifacts.is_local(item.uri):
                    continue
                path = self._artifacts.local_path(item.uri)
                try:
                    status = path.stat()
                except OSError:
                    continue
                stamp = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
                found.append({"role": "output", "path": str(path), **stamp})
        return found

    def _keep(
        self, writes: Sequence[str], project: Path, author_says_so: bool
    ) -> list[Mapping[str, Any]] | Uncacheable:
        kept: list[Mapping[str, Any]] = []
        for name in sorted(set(writes)):
            path = Path(name)
            if not path.is_relative_to(project):
                if author_says_so:
                    continue
                return Uncacheable(f"it wrote {name}, outside its own folder and the project")
            try:
                status = path.stat()
                if not path.is_file():
                    continue
                if status.st_size > _KEPT_FILE_MAX:
                    return Uncacheable(f"it wrote {name}, too large to be kept for putting back")
                digest = _file_digest(path)
                self._keep_copy(path, digest)
            except FileNotFoundError:
                continue
            except OSError as error:
                return Uncacheable(f"{name}, which it wrote, could not be kept: {error.strerror}")
            kept.append({"role": "project", "path": name, "digest": digest})
        return kept

    def _keep_copy(self, path: Path, digest: str) -> None:
        target = self._kept / digest
        if target.exists():
            return
        self._kept.mkdir(parents=True, exist_ok=True)
        temporary = self._kept / f".{digest}.{os.getpid()}"
        shutil.copyfile(path, temporary)
        temporary.replace(target)


def _declared(parts: Parts) -> list[Mapping[str, Any]]:
    """What the author of a component says that it reads (``reads=[...]``), as it is now."""
    code = parts.values.get("code")
    if not isinstance(code, dict):
        return []
    found: list[Mapping[str, Any]] = []
    for name in code.get("reads") or ():
        found += _as_read(Path(str(code.get("folder") or "/")) / str(name))
    return found


def _as_read(path: Path) -> list[Mapping[str, Any]]:
    try:
        status = path.stat()
        if not path.is_dir():
            return [describe_file(str(path), status)]
        names = {"path": str(path), "kind": "listing", "digest": listing_digest(str(path), ())}
        return [names, *(read for inner in sorted(path.iterdir()) for read in _as_read(inner))]
    except OSError:
        return [{"path": str(path), "kind": "missing"}]


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
