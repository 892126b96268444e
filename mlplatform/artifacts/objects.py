"""Files and trees on top of an object store.

A tree is its prefix: one object a file, and an object without bytes whose key ends in ``/`` for each empty folder. Each
object carries the SHA-256 of its bytes as metadata, which changes only with the object: digests of what was put by us
need no download. An object of somebody else's is read for its digest.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from mlplatform.artifacts.digest import digest_file, digest_records
from mlplatform.artifacts.failures import local_failure
from mlplatform.artifacts.local import checked_entries, flush_file, flush_folder, staged
from mlplatform.artifacts.uris import ObjectPlace, check_relative, object_place
from mlplatform.core.errors import ArtifactError

#: Metadata key of an object's digest (hex).
DIGEST_KEY: Final = "mlplatform-sha256"
#: Requests at once while a tree is moved.
_PARALLEL: Final = 8
_EMPTY: Final = hashlib.sha256(b"").hexdigest()

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What the store says of an object. ``sha256`` (hex) is '' where it does not know."""

    key: str
    size: int
    sha256: str = ""


class ObjectStore(ABC):
    """Artifacts on an object store; a subclass knows one kind of server. Usable from several threads."""

    # ------------------------------------------------------------------ of one kind of server; all raise ArtifactError
    @abstractmethod
    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """None: there is no such object."""

    @abstractmethod
    def listing(self, bucket: str, prefix: str, limit: int | None = None) -> Iterator[ObjectInfo]:
        """Objects whose keys begin with ``prefix``, without digests."""

    @abstractmethod
    def download(self, bucket: str, key: str, to: Path) -> None: ...
    @abstractmethod
    def upload(self, source: Path, bucket: str, key: str, metadata: Mapping[str, str]) -> None: ...
    @abstractmethod
    def upload_empty(self, bucket: str, key: str, metadata: Mapping[str, str]) -> None: ...
    @abstractmethod
    def stream(self, bucket: str, key: str) -> Iterator[bytes]: ...
    @abstractmethod
    def delete(self, bucket: str, keys: Sequence[str]) -> None: ...

    # ------------------------------------------------------------------ the store
    def exists(self, uri: str) -> bool:
        place = object_place(uri)
        if self.head(place.bucket, place.key) is not None:
            return True
        return next(self.listing(place.bucket, place.key + "/", 1), None) is not None

    def put(self, source: Path, uri: str) -> None:
        """One object appears at once; a tree file by file, and what was there before goes last. (Where a file takes a
        folder's place, or the other way round, the old goes first: some servers cannot hold both.)"""
        place = object_place(uri)
        if not source.exists():
            raise ArtifactError(f"cannot store {source}: it does not exist")
        try:
            new = self._keys_of(source, place) if source.is_dir() else {place.key: str(source)}
            old = self._keys_at(place) - new.keys()
            in_the_way = _in_the_way(old, new)
            self._delete(place, in_the_way)
            self._each(lambda item: self._put_one(place, *item), list(new.items()))
            self._delete(place, old - in_the_way)
        except OSError as error:
            raise local_failure(f"read {source}", error) from error

    def fetch(self, uri: str, to: Path) -> None:
        """Whole or not at all; every file is checked against its digest where the store knows it."""
        place = object_place(uri)
        info = self.head(place.bucket, place.key)
        try:
            with staged(to) as temporary:
                if info is not None:
                    self._get_file(place, info, temporary)
                else:
                    self._get_tree(place, temporary)
        except OSError as error:
            raise local_failure(f"copy {uri} to {to}", error) from error

    def digest(self, uri: str) -> tuple[str, int]:
        place = object_place(uri)
        info = self.head(place.bucket, place.key)
        if info is not None:
            return "sha256:" + self._sha256(place.bucket, info), info.size
        found = self._tree(place)
        begin = len(place.key) + 1
        infos = self._each(lambda item: self._with_digest(place.bucket, item), found)
        records = [
            (info.key[begin:].rstrip("/").encode(), "d" if info.key.endswith("/") else "f", info.sha256)
            for info in infos
            if info.key[begin:]
        ]
        marked = [(name, kind, "-" if kind == "d" else what) for name, kind, what in records]
        return digest_records(_without_full_folders(marked)), sum(info.size for info in infos)

    def remove(self, uri: str) -> None:
        place = object_place(uri)
        self._delete(place, self._keys_at(place))

    def _keys_at(self, place: ObjectPlace) -> set[str]:
        keys = {info.key for info in self.listing(place.bucket, place.key + "/")}
        return keys | {place.key} if self.head(place.bucket, place.key) is not None else keys

    def _delete(self, place: ObjectPlace, keys: set[str]) -> None:
        if keys:
            self.delete(place.bucket, sorted(keys))

    # ------------------------------------------------------------------ putting
    def _keys_of(self, source: Path, place: ObjectPlace) -> dict[str, str]:
        """Keys of a local tree and the paths behind them."""
        entries = checked_entries(source, stay_inside=True)
        problems = [os.fsdecode(entry.name) for entry in entries if entry.kind == "l"]
        if problems:
            raise ArtifactError(
                f"cannot store {source} at {place.uri}: links that lead nowhere: {', '.join(problems[:5])}",
                hint="Object stores have no links. Remove them.",
            )
        keys: dict[str, str] = {}
        for entry in entries:
            try:
                name = entry.name.decode("utf-8")
            except UnicodeDecodeError:
                raise ArtifactError(
                    f"cannot store {source} at {place.uri}: the name {entry.name!r} is no UTF-8",
                    hint="Object stores name things in UTF-8. Rename it.",
                ) from None
            keys[f"{place.key}/{name}{'/' if entry.kind == 'd' else ''}"] = entry.path
        return keys or {place.key + "/": str(source)}

    def _put_one(self, place: ObjectPlace, key: str, path: str) -> None:
        if key.endswith("/"):
            self.upload_empty(place.bucket, key, {DIGEST_KEY: _EMPTY})
        else:
            self._put_file(path, place.bucket, key)

    def _put_file(self, path: str, bucket: str, key: str) -> None:
        before = os.stat(path)
        digest, _ = digest_file(path)
        self.upload(Path(path), bucket, key, {DIGEST_KEY: digest})
        after = os.stat(path)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            self.delete(bucket, [key])
            raise ArtifactError(f"{path} was changed while it was stored", hint="Store it when nothing writes to it.")

    # ------------------------------------------------------------------ getting
    def _get_file(self, place: ObjectPlace, info: ObjectInfo, to: Path) -> None:
        self.download(place.bucket, info.key, to)
        digest, size = digest_file(str(to))
        if size != info.size or (info.sha256 and digest != info.sha256):
            raise ArtifactError(
                f"{place.scheme}://{place.bucket}/{info.key} arrived damaged, or was changed meanwhile",
                hint="Try again; if it stays so, the stored object is damaged.",
            )
        flush_file(str(to))

    def _get_tree(self, place: ObjectPlace, to: Path) -> None:
        found = self._tree(place)
        begin = len(place.key) + 1
        to.mkdir()
        folders = {to}
        files: list[tuple[ObjectInfo, Path]] = []
        for info in found:
            name = info.key[begin:].rstrip("/")
            if not name:
                continue
            check_relative(name, place.uri)
            path = to / name
            folder = path if info.key.endswith("/") else path.parent
            folder.mkdir(parents=True, exist_ok=True)
            while folder not in folders:
                folders.add(folder)
                folder = folder.parent
            if not info.key.endswith("/"):
                files.append((info, path))

        def get(item: tuple[ObjectInfo, Path]) -> None:
            # a listing does not tell digests
            self._get_file(place, self.head(place.bucket, item[0].key) or item[0], item[1])

        self._each(get, files)
        for folder in folders:
            flush_folder(folder)

    def _tree(self, place: ObjectPlace) -> list[ObjectInfo]:
        found = list(self.listing(place.bucket, place.key + "/"))
        if not found:
            raise ArtifactError(f"there is nothing at {place.uri}", hint="Check bucket and key, and who may read them.")
        return found

    # ------------------------------------------------------------------ helpers
    def _with_digest(self, bucket: str, info: ObjectInfo) -> ObjectInfo:
        if info.key.endswith("/"):
            return info
        known = self.head(bucket, info.key) or info
        return ObjectInfo(info.key, known.size, self._sha256(bucket, known))

    def _sha256(self, bucket: str, info: ObjectInfo) -> str:
        if info.sha256:
            return info.sha256
        sha = hashlib.sha256()
        for piece in self.stream(bucket, info.key):
            sha.update(piece)
        return sha.hexdigest()

    def _each(self, function: Callable[[T], U], items: Sequence[T]) -> list[U]:
        """Several at once; the first failure counts, what is not begun then never begins."""
        if len(items) <= 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(min(_PARALLEL, len(items)), thread_name_prefix="artifacts") as threads:
            futures = [threads.submit(function, item) for item in items]
            try:
                return [future.result() for future in futures]
            finally:
                for future in futures:
                    future.cancel()


def _in_the_way(old: set[str], new: Mapping[str, str]) -> set[str]:
    """Old objects where new ones need a folder, and below where new ones are files."""
    folders = {parent for key in new for parent in _above(key)}
    return {key for key in old if key in folders or any(parent in new for parent in _above(key))}


def _above(key: str) -> Iterator[str]:
    """``a/b/c`` -> ``a``, ``a/b``."""
    at = key.find("/")
    while at >= 0:
        yield key[:at]
        at = key.find("/", at + 1)


def _without_full_folders(records: Sequence[tuple[bytes, str, str]]) -> list[tuple[bytes, str, str]]:
    """Other tools mark every folder with an object; only empty ones count."""
    parents = {name[:at] for name, _, _ in records for at, byte in enumerate(name) if byte == 0x2F}
    return [record for record in records if record[1] != "d" or record[0] not in parents]
