"""Names of images: ``registry:5000/team/model:v1``, ``python:3.12-slim``, ``name@sha256:...``; ``oci:FOLDER[:TAG]``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from mlplatform.core.errors import Finding, InvalidInput
from mlplatform.images.model import is_digest

#: Where a name without a host belongs, and the host that serves it.
HUB: Final = "docker.io"
HUB_HOST: Final = "index.docker.io"
_REPOSITORY: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?")


@dataclass(frozen=True, slots=True)
class Reference:
    """An image in a registry. ``host`` with its port; one of ``tag`` and ``digest`` is set, or both."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def name(self) -> str:
        """What the registry finds its manifest by."""
        return self.digest or self.tag

    def at(self, digest: str) -> Reference:
        """The same repository's image of this digest."""
        return replace(self, tag="", digest=digest)

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a name as Docker does: no host means Docker Hub, no tag means ``latest``.

        Raises:
            InvalidInput: with what is wrong about it.
        """
        rest, _, digest = text.partition("@")
        first, slash, others = rest.partition("/")
        has_host = bool(slash) and ("." in first or ":" in first or first == "localhost" or first != first.lower())
        host, path = (first, others) if has_host else (HUB, rest)
        path, _, tag = path.partition(":")
        if host in (HUB, HUB_HOST):
            host, path = HUB, path if "/" in path else f"library/{path}"
        findings: list[Finding] = []
        if not _HOST.fullmatch(host):
            findings.append(Finding("host", f"{host!r} is no host"))
        if not _REPOSITORY.fullmatch(path) or len(path) > 255:
            hint = "lower-case letters, digits, and . _ - / between them"
            findings.append(Finding("repository", f"{path!r} is no name of a repository", hint=hint))
        if tag and not _TAG.fullmatch(tag):
            findings.append(Finding("tag", f"{tag!r} is no tag", hint="letters, digits, and . _ -"))
        if (digest or "@" in text) and not is_digest(digest):
            findings.append(Finding("digest", f"{digest!r} is no sha256 digest"))
        if findings:
            hint = "Write it as registry.example.com:5000/team/image:tag."
            raise InvalidInput(f"{text!r} is no name of an image.", findings=findings, hint=hint)
        return cls(host, path, tag or ("" if digest else "latest"), digest)


@dataclass(frozen=True, slots=True)
class LayoutReference:
    """An image in an OCI layout: a folder, or an archive of one."""

    path: str
    name: str = ""


def parse_source(text: str) -> Reference | LayoutReference:
    """A name in a registry, ``oci:FOLDER[:TAG]`` or ``oci-archive:FILE[:TAG]``. Raises InvalidInput."""
    for scheme in ("oci:", "oci-archive:"):
        if text.startswith(scheme):
            rest = text.removeprefix(scheme)
            path, colon, name = rest.rpartition(":")
            found = LayoutReference(path, name) if colon and "/" not in name else LayoutReference(rest)
            if not found.path:
                raise InvalidInput(f"{text!r} names no folder.", hint="Write it as oci:FOLDER or oci:FOLDER:TAG.")
            return found
    return Reference.parse(text.removeprefix("docker://"))
