"""One door to all artifact stores. It has the shape of ``engine.ports.ArtifactStore``."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from mlplatform.artifacts import uris
from mlplatform.artifacts.digest import digest_path
from mlplatform.artifacts.failures import local_failure
from mlplatform.artifacts.local import Method, remove_path, replace_by_copy
from mlplatform.core.errors import ArtifactError, Unsupported


class RemoteStore(Protocol):
    """A store behind a URI scheme. All methods raise ArtifactError."""

    def fetch(self, uri: str, to: Path) -> None: ...
    def put(self, source: Path, uri: str) -> None: ...
    def digest(self, uri: str) -> tuple[str, int]: ...
    def exists(self, uri: str) -> bool: ...
    def remove(self, uri: str) -> None: ...


def _s3(login: Mapping[str, str] | None = None) -> RemoteStore:
    from mlplatform.artifacts.s3 import open_s3

    return open_s3(os.environ, login)


def _gs() -> RemoteStore:
    from mlplatform.artifacts.gs import open_gs

    return open_gs()


def _http() -> RemoteStore:
    from mlplatform.artifacts.web import HttpStore

    return HttpStore()


_OPENERS: Final[Mapping[str, Callable[[], RemoteStore]]] = {
    "s3": _s3,
    "minio": _s3,
    "gs": _gs,
    "http": _http,
    "https": _http,
}

_NOT_HERE: Final = {
    "oci": "Pull the image or model with a tool that speaks to registries, and give its local path.",
    "hdfs": "Copy it to a local path, s3:// or gs:// first.",
    "azure": "Copy it to a local path, s3:// or gs:// first.",
    "abfs": "Copy it to a local path, s3:// or gs:// first.",
}


_places: Final[dict[str, Callable[[], Mapping[str, str]]]] = {}


def reach(prefix: str, settings: Callable[[], Mapping[str, str]]) -> None:
    """In this process, what begins with ``prefix`` (``s3://bucket/folder/``) is reached by other settings than the
    environment's: ``MLPLATFORM_S3_ENDPOINT``, ``AWS_DEFAULT_REGION`` and keys. They are asked for when first needed."""
    _places[prefix] = settings


class Artifacts:
    """Stores by URI scheme: plain paths, ``file``, ``s3`` (also ``minio``), ``gs``, ``http`` and ``https``. Usable from
    several threads; a store's client is opened when first needed, once a process."""

    def __init__(self, *, local_copies: Method = "reflink") -> None:
        """``local_copies``: how files get from one local place to another (see ``artifacts.local.Method``)."""
        self._method: Method = local_copies
        self._lock = threading.Lock()
        self._remotes: dict[tuple[int, object], RemoteStore] = {}

    def open(self, uri: str) -> None:
        """Have the store of ``uri`` ready, which takes a moment the first time. Raises ArtifactError, Unsupported."""
        if not uris.is_local(uri):
            self._remote(uri)

    def is_local(self, uri: str) -> bool:
        """True for plain paths and ``file://``."""
        return uris.is_local(uri)

    def local_path(self, uri: str) -> Path:
        """Raises ArtifactError for a URI that is not local."""
        return uris.local_path(uri)

    def fetch(self, uri: str, to: Path) -> Path:
        """Copy the file or tree at ``uri`` to local ``to``, whole or not at all; returns ``to``.

        Raises:
            ArtifactError: it is not there, or the transfer failed.
            Unsupported: no store for this scheme here.
        """
        if uris.is_local(uri):
            replace_by_copy(uris.local_path(uri), to, "copy" if self._method == "hardlink" else self._method)
        else:
            self._remote(uri).fetch(uri, to)
        return to

    def put(self, source: Path, uri: str) -> None:
        """Copy a local file or tree to ``uri``, replacing what is there: at once where it is local or one object.

        Raises:
            ArtifactError: the source has links that lead out of it, or the transfer failed.
            Unsupported: no store for this scheme here.
        """
        if uris.is_local(uri):
            replace_by_copy(source, uris.local_path(uri), self._method, stay_inside=True)
        else:
            self._remote(uri).put(source, uri)

    def digest(self, uri: str) -> tuple[str, int]:
        """(``sha256:...`` of a file or tree, size in bytes), see ``artifacts.digest``.

        Raises:
            ArtifactError: it is not there or cannot be read.
            Unsupported: no store for this scheme here.
        """
        if not uris.is_local(uri):
            return self._remote(uri).digest(uri)
        path = uris.local_path(uri)
        try:
            return digest_path(str(path))
        except OSError as error:
            raise local_failure(f"read {path}", error) from error

    def exists(self, uri: str) -> bool:
        """Raises ArtifactError if it cannot be known, Unsupported if there is no store for this scheme here."""
        if not uris.is_local(uri):
            return self._remote(uri).exists(uri)
        path = uris.local_path(uri)
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise local_failure(f"look at {path}", error) from error
        return True

    def remove(self, uri: str) -> None:
        """Remove a file or tree; nothing there is no error.

        Raises:
            ArtifactError: it cannot be removed, or is the root of a file system.
            Unsupported: no store for this scheme here.
        """
        if not uris.is_local(uri):
            self._remote(uri).remove(uri)
            return
        path = uris.local_path(uri)
        if not path.absolute().name or os.path.ismount(path):
            raise ArtifactError(f"{path} is the root of a file system and is not removed")
        try:
            remove_path(path)
        except OSError as error:
            raise local_failure(f"remove {path}", error) from error

    def _remote(self, uri: str) -> RemoteStore:
        scheme = uris.scheme_of(uri)
        opener = _OPENERS.get(scheme)
        if opener is None:
            known = ", ".join(f"{name}://" for name in ("file", *_OPENERS))
            hint = _NOT_HERE.get(scheme, f"There are stores for plain paths and {known}.")
            raise Unsupported(f"artifacts at {scheme}:// cannot be read or written here ({uris.shown(uri)})", hint=hint)
        settings = _places.get(max(filter(uri.startswith, tuple(_places)), key=len, default="")) if _places else None
        key = (os.getpid(), settings or opener)  # clients do not survive a fork
        with self._lock:
            if key not in self._remotes:
                self._remotes[key] = opener() if settings is None or opener is not _s3 else _s3(settings())
            return self._remotes[key]
