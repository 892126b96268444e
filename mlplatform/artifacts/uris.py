"""Artifact URIs: schemes, local paths, object keys, and how they read in messages."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from mlplatform.core.errors import ArtifactError

_SCHEME: Final = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")


def scheme_of(uri: str) -> str:
    """Lower case, without ``://``; '' for a plain path."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match else ""


def is_local(uri: str) -> bool:
    """True for plain paths and ``file://``."""
    return scheme_of(uri) in ("", "file")


def local_path(uri: str) -> Path:
    """The path of a plain path or ``file://`` URI. ``%20`` and the like in a ``file://`` URI are decoded, unless there
    is a file with just that name: KFP's own documents do not encode.

    Raises:
        ArtifactError: the URI is empty, not local, on another host, or no possible path.
    """
    scheme = scheme_of(uri)
    if scheme not in ("", "file"):
        raise ArtifactError(f"{shown(uri)} is not a local path")
    text = uri
    if scheme:
        host, slash, rest = uri[len("file://") :].partition("/")
        if host not in ("", "localhost"):
            raise ArtifactError(
                f"{uri} is on another machine ({host})", hint="A local path has three slashes: file:///PATH."
            )
        text = slash + rest
        if "%" in text and not os.path.lexists(text):
            text = unquote(text, errors="surrogateescape")
    if not text or "\0" in text:
        raise ArtifactError(f"{uri!r} is no path")
    return Path(text)


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """A place in an object store. ``key`` has no slash at its ends; it names an object, or a tree as a prefix."""

    scheme: str
    bucket: str
    key: str

    @property
    def uri(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"


def object_place(uri: str) -> ObjectPlace:
    """Bucket and key of ``s3://BUCKET/KEY`` and the like. The key is taken as it stands, without decoding.

    Raises:
        ArtifactError: no bucket, no key, or a key with ``.``, ``..`` or empty parts.
    """
    scheme = scheme_of(uri)
    bucket, _, key = uri[len(scheme) + 3 :].partition("/")
    key = key.removesuffix("/")
    if not bucket or not key:
        raise ArtifactError(f"{uri} names no object", hint=f"Write {scheme}://BUCKET/KEY.")
    check_relative(key, uri)
    return ObjectPlace(scheme, bucket, key)


def check_relative(path: str, where: str) -> None:
    """A key that becomes a local path must stay below its root. Raises ArtifactError."""
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise ArtifactError(
            f"{where}: the name {path!r} leads out of its place, or nowhere",
            hint="Names are parts joined by single slashes, none of them `.` or `..`.",
        )


def shown(uri: str) -> str:
    """A URI for a message: passwords, signatures and tokens (user information and query) are left out."""
    if scheme_of(uri) not in ("http", "https"):
        return uri
    try:
        parts = urlsplit(uri)
    except ValueError:  # brackets that do not match
        return f"{scheme_of(uri)}://..."
    host = parts.netloc.rpartition("@")[2]
    return (
        urlunsplit((parts.scheme, host, parts.path, "...", ""))
        if parts.query
        else f"{parts.scheme}://{host}{parts.path}"
    )
