"""The documents of the OCI image specification that are read and written here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlplatform.core.errors import InvalidInput

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
MANIFESTS: Final = (MANIFEST, DOCKER_MANIFEST)
INDEXES: Final = (INDEX, DOCKER_INDEX)

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_digest(text: object) -> bool:
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def dump(document: Any) -> bytes:
    """JSON whose bytes depend on its content only."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on."""

    os: str = "linux"
    architecture: str = "amd64"

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``linux/amd64``. Raises InvalidInput."""
        os, slash, architecture = text.partition("/")
        if not (os and slash and architecture):
            raise InvalidInput(f"{text!r} is no platform", hint="Write it as linux/amd64 or linux/arm64.")
        return cls(os, architecture)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Points at a blob. ``size`` in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    platform: Platform | None = None

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        if self.platform is not None:
            found["platform"] = {"os": self.platform.os, "architecture": self.platform.architecture}
        return found

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Descriptor:
        """From a document somebody else wrote. Raises InvalidInput."""
        try:
            media_type, digest, size = found["mediaType"], found["digest"], found["size"]
            said: Mapping[str, Any] = found.get("annotations") or {}
            annotations = {str(key): str(value) for key, value in said.items()}
            told: Mapping[str, Any] = found.get("platform") or {}
            platform = Platform(str(told["os"]), str(told["architecture"])) if "architecture" in told else None
        except (KeyError, TypeError, AttributeError):
            raise InvalidInput("an image document holds something that is no descriptor") from None
        if not is_digest(digest) or not isinstance(media_type, str) or type(size) is not int or size < 0:
            raise InvalidInput(f"an image document holds a descriptor that cannot be used: {digest!r}")
        return cls(media_type, digest, size, annotations, platform)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = MANIFEST
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])

    def dump(self) -> bytes:
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return dump(document)

    @classmethod
    def read(cls, data: bytes) -> Manifest:
        """Raises InvalidInput."""
        found = read_object(data)
        if "layers" not in found or "config" not in found:
            raise InvalidInput("the image's manifest is of a kind that is not known here (no config and layers)")
        layers = tuple(Descriptor.read(each) for each in found["layers"])
        media_type = str(found.get("mediaType") or MANIFEST)
        return cls(Descriptor.read(found["config"]), layers, media_type, found.get("annotations") or {})


def read_object(data: bytes) -> dict[str, Any]:
    """Raises InvalidInput."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidInput("an image document is not a JSON object")
    return found  # pyright: ignore[reportUnknownVariableType]


@dataclass(frozen=True, slots=True)
class Settings:
    """How containers of an image start, as far as we set it; what is None or empty is left as the base has it."""

    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    user: str = ""
    working_folder: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    def over(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """The ``config`` of an image configuration: ``base``'s with ours over it."""
        merged = dict(base)
        if self.entrypoint is not None:
            merged["Entrypoint"] = list(self.entrypoint)
            merged.pop("Cmd", None)
        if self.command is not None:
            merged["Cmd"] = list(self.command)
        if self.user:
            merged["User"] = self.user
        if self.working_folder:
            merged["WorkingDir"] = self.working_folder
        if self.environment:
            known = {name: value for name, _, value in (str(each).partition("=") for each in merged.get("Env") or ())}
            merged["Env"] = [f"{name}={value}" for name, value in {**known, **self.environment}.items()]
        if self.labels:
            merged["Labels"] = {**(merged.get("Labels") or {}), **self.labels}
        return merged
