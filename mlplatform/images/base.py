"""The image that an environment is put on: where it comes from, and which Python is in it."""

from __future__ import annotations

import gzip
import json
import posixpath
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlplatform.core.errors import InvalidInput, NotFound, Unsupported
from mlplatform.images.layout import Layout, write_whole
from mlplatform.images.model import Descriptor, Platform, dump, read_object
from mlplatform.images.references import LayoutReference, Reference, parse_source
from mlplatform.images.registry import Registry, pull
from mlplatform.images.registry.client import Report
from mlplatform.images.registry.transport import Transport

_PYTHON: Final = re.compile(r"python3\.(\d+)")
_USUAL: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What tells musl from glibc, and folders that programs lie in.
_KEPT: Final = re.compile(r"(.*/)?(bin(/[^/]*)?|python3?(\.\d+)?|ld-musl-[^/]*|\.wh\.[^/]*)|[^/]+|usr/[^/]+")
_LINKS: Final = 40


@dataclass(frozen=True, slots=True)
class Base:
    """A base image whose documents are in the layout.

    ``layers``: where those of its layers are that are not; ``python``: the path of its interpreter, ``version``:
    ``3.11``; ``musl``: its C library; ``path``: its PATH.
    """

    name: str
    image: Descriptor
    layers: Mapping[str, tuple[Registry, Reference]]
    python: str
    version: str
    musl: bool
    path: str


def fetch_base(
    text: str, layout: Layout, platform: Platform, *, insecure: bool = False, report: Report = lambda _: None
) -> Base:
    """Find a base image, and the Python in it.

    Args:
        text: a name in a registry, ``oci:FOLDER[:TAG]`` or ``oci-archive:FILE[:TAG]``.
        layout: where its blobs are put.

    Raises:
        InvalidInput, NotFound: no such image, or not for this platform.
        Unsupported: there is no Python 3 on its PATH.
        EnvironmentFailed: the registry cannot be reached or refuses.
    """
    source = parse_source(text)
    layers: dict[str, tuple[Registry, Reference]] = {}
    if isinstance(source, LayoutReference):
        image = from_layout(source, layout, platform)
    else:
        registry = Registry(Transport(source.host, insecure=insecure))
        image = pull(registry, source, layout, platform=platform, report=report)
        layers = {blob.digest: (registry, source) for blob in layout.manifest(image).layers}
    manifest = layout.manifest(image)
    config: Mapping[str, Any] = read_object(layout.read(manifest.config)).get("config") or {}
    environment = {name: value for name, _, value in (str(each).partition("=") for each in config.get("Env") or ())}
    path = environment.get("PATH") or _USUAL
    files = _merged(_listing(layout, blob) for blob in manifest.layers)
    python, version = _python(files, path)
    if not python:
        raise Unsupported(
            f"The base image {text} has no Python 3 on its PATH ({path}).",
            hint="Take one that has: python:3.11-slim, or your own.",
        )
    musl = any("ld-musl-" in name for name in files)
    return Base(text, image, layers, python, version, musl, path)


def from_layout(source: LayoutReference, layout: Layout, platform: Platform | None) -> Descriptor:
    """Copy an image of another layout, or of an archive of one. Raises NotFound, InvalidInput."""
    path = Path(source.path)
    if path.is_file():
        images = layout.load(path)
        named = [each for each in images if not source.name or source.name in each.annotations.values()]
        if len({each.digest for each in named}) != 1:
            raise NotFound(f"{path} holds {len(images)} images, and none or several called {source.name!r}.")
        return layout.for_platform(named[0], platform or Platform())
    if not (path / "index.json").is_file():
        raise NotFound(f"{path} is no OCI layout: it has no index.json.", hint="Name the folder that holds it.")
    other = Layout(path)
    image = other.find(source.name, platform)
    other.copy(image, layout)
    return image


# ------------------------------------------------------------------ what lies in it
def _listing(layout: Layout, blob: Descriptor) -> Mapping[str, str]:
    """Programs and links of a layer: path to link target, "" for what is no link. Kept by the layer's digest."""
    mark = layout.folder / "listings" / f"{blob.digest.removeprefix('sha256:')}.json"
    try:
        found: dict[str, str] = json.loads(mark.read_bytes())
    except (OSError, ValueError):
        found = {}
        try:
            with gzip.open(layout.path(blob.digest)) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
                for member in tar:
                    name = posixpath.normpath(member.name).lstrip("/")
                    if _KEPT.fullmatch(name):
                        found[name] = (
                            member.linkname if member.issym() else f"/{member.linkname}" if member.islnk() else ""
                        )
        except (tarfile.TarError, gzip.BadGzipFile, EOFError):
            raise InvalidInput(
                f"The base's layer {blob.digest} is not packed by gzip.", hint="Push the base again, packed by gzip."
            ) from None
        mark.parent.mkdir(parents=True, exist_ok=True)
        write_whole(mark, dump(found))
    return found


def _merged(layers: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """One file system of several layers, one over the other."""
    files: dict[str, str] = {}
    for layer in layers:
        for name in layer:
            folder, _, last = name.rpartition("/")
            if last == ".wh..wh..opq":
                _remove(files, folder, itself=False)
            elif last.startswith(".wh."):
                _remove(files, posixpath.join(folder, last.removeprefix(".wh.")), itself=True)
        files.update({name: target for name, target in layer.items() if "/.wh." not in f"/{name}"})
    return files


def _remove(files: dict[str, str], path: str, *, itself: bool) -> None:
    for name in [each for each in files if each.startswith(f"{path}/") or (itself and each == path)]:
        del files[name]


def _python(files: Mapping[str, str], path: str) -> tuple[str, str]:
    """The first python3 on PATH, as (its path, ``3.11``); ("", "") if there is none."""
    for folder in path.split(":"):
        for name in ("python3", "python", *(f"python3.{minor}" for minor in range(20, 5, -1))):
            found = _resolved(files, f"{folder}/{name}".lstrip("/"))
            match = _PYTHON.fullmatch(found.rpartition("/")[2])
            if match:
                return f"/{found}", f"3.{match[1]}"
    return "", ""


def _resolved(files: Mapping[str, str], path: str) -> str:
    """What a path leads to, through links of folders and of the file itself; "" if there is nothing."""
    for _ in range(_LINKS):
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            above = "/".join(parts[:count])
            target = files.get(above, "")
            if target:
                joined = posixpath.join("/", posixpath.dirname(above), target, *parts[count:])
                path = posixpath.normpath(joined).lstrip("/")
                break
        else:
            return path if path in files else ""
    return ""


def default_base(version: str) -> str:
    """What an environment of this Python is put on if nobody says otherwise."""
    return f"python:{version}-slim"


def as_json(base: Base) -> dict[str, Any]:
    return {"name": base.name, "digest": base.image.digest, "python": base.python, "version": base.version}
