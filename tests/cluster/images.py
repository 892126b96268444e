"""Container images made from files here, and their way into the cluster's registry: no Docker, no other registry."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True)
class Image:
    """Gzipped layers with the digests of their contents, and the configuration's ``config`` part."""

    layers: Sequence[tuple[bytes, str]]
    config: Mapping[str, Any]

    @classmethod
    def of_files(
        cls,
        files: Mapping[str, Path | bytes],
        *,
        links: Mapping[str, str] | None = None,
        folders: Sequence[str] = ("tmp", "etc"),
        entrypoint: Sequence[str] = (),
        user: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Image:
        """One layer: ``files`` (path in the image -> file or content; executable all) and symbolic ``links``."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name in folders:
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
                tar.addfile(entry)
            for name, source in files.items():
                data = source if isinstance(source, bytes) else source.read_bytes()
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o755
                tar.addfile(entry, io.BytesIO(data))
            for name, target in (links or {}).items():
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                tar.addfile(entry)
        config: dict[str, Any] = {
            "Env": [f"{k}={v}" for k, v in {"PATH": "/bin:/usr/bin", **(environment or {})}.items()]
        }
        if entrypoint:
            config["Entrypoint"] = list(entrypoint)
        if user:
            config["User"] = user
        return cls([pack(out.getvalue())], config)


def pack(tar: bytes) -> tuple[bytes, str]:
    """A layer from an uncompressed tar."""
    return gzip.compress(tar, compresslevel=1, mtime=0), "sha256:" + hashlib.sha256(tar).hexdigest()


def split_name(name: str) -> tuple[str, str]:
    """Repository (as containerd asks a mirror for it: without the registry's name) and tag of an image's name."""
    name, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "latest")
    first, _, rest = name.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        return (rest if first != "docker.io" or "/" in rest else f"library/{rest}"), tag
    return (name if rest else f"library/{name}"), tag


class _Registry:
    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=120)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> http.client.HTTPResponse:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        self._connection.request(method, path, body, named)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300 and not (method == "HEAD" and answer.status == 404):
            raise RuntimeError(f"registry: {method} {path}: {answer.status} {text[:500]!r}")
        return answer

    def blob(self, repository: str, data: bytes, kind: str) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if self.request("HEAD", f"/v2/{repository}/blobs/{digest}").status != 200:
            place = self.request("POST", f"/v2/{repository}/blobs/uploads/").headers["Location"]
            place = place[place.index("/v2/") :]
            place += f"{'&' if '?' in place else '?'}digest={digest}"
            self.request("PUT", place, data, Content_Type="application/octet-stream")
        return {"mediaType": kind, "digest": digest, "size": len(data)}


def push_archive(address: str, name: str, archive: Path) -> str:
    """Put an OCI layout in a tar file (as ``tests.support.images`` makes) into the registry. Returns the digest."""
    repository, tag = split_name(name)
    registry = _Registry(address)
    with tarfile.open(archive) as tar:

        def read(member: str) -> bytes:
            file = tar.extractfile(member)
            assert file is not None
            return file.read()

        def blob(digest: str) -> bytes:
            return read("blobs/" + digest.replace(":", "/"))

        (listed,) = json.loads(read("index.json"))["manifests"]
        manifest = blob(listed["digest"])
        parts = json.loads(manifest)
        for part in (parts["config"], *parts["layers"]):
            registry.blob(repository, blob(part["digest"]), part["mediaType"])
    registry.request("PUT", f"/v2/{repository}/manifests/{tag}", manifest, Content_Type=listed["mediaType"])
    return listed["digest"]


def push(address: str, name: str, image: Image) -> str:
    """Put an image into the registry at ``address`` under ``name``; a pod may then name it. Returns its digest."""
    repository, tag = split_name(name)
    registry = _Registry(address)
    layers = [registry.blob(repository, data, _LAYER) for data, _ in image.layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(image.config),
        "rootfs": {"type": "layers", "diff_ids": [diff for _, diff in image.layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": registry.blob(repository, json.dumps(config).encode(), _CONFIG),
        "layers": layers,
    }
    data = json.dumps(manifest).encode()
    registry.request("PUT", f"/v2/{repository}/manifests/{tag}", data, Content_Type=_MANIFEST)
    return "sha256:" + hashlib.sha256(data).hexdigest()
