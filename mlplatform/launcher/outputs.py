"""What the task wrote: output parameters by their declared types, artifacts with content digests."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from typing import Any, cast

from .component import local_uri
from .digest import digest_path
from .failures import AttemptFailed
from .fields import objects, section
from .values import conform, parse_text, whole_numbers

_NOTHING = object()


def prepare_folders(spec: Mapping[str, Any]) -> None:
    """Make the folders of every place the task may write an output to."""
    places = [spec["executor_input"].get("outputs", {}).get("outputFile")]
    for kind in ("parameters", "artifacts"):
        places += [entry["path"] for entry in spec["outputs"][kind].values()]
    places += [place for place, _ in _as_paths(spec)]
    for folder in {os.path.dirname(place) for place in places if place}:
        os.makedirs(folder, exist_ok=True)


def as_path(uri: str, folder: str) -> str:
    """Where a command looks that takes a URI for a path, as on one machine it is one: ``s3://b/c`` is the file ``c`` in
    the folder ``s3:/b`` of the task's own ``folder``. Empty: it is a path, or leads out of that folder."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        return ""
    top = os.path.join(folder, scheme + ":")
    place = os.path.normpath(os.path.join(top, rest))
    return place if place.startswith(top + os.sep) else ""


def _as_paths(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where a command writes that takes the URI of an output for a path, and where it should."""
    if spec["kind"] != "command":
        return []
    entries: dict[str, dict[str, str]] = spec["outputs"]["artifacts"]
    folder = str(spec.get("cwd") or spec["scratch"])
    found = [(as_path(entry["uri"], folder), entry["path"]) for entry in entries.values()]
    return [(place, path) for place, path in found if place]


def collect(spec: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """(parameters, artifacts) of result.json.

    Raises:
        AttemptFailed: with every output parameter that was not written or is of another type.
        OSError: an artifact cannot be read.
    """
    for place, path in _as_paths(spec):
        if os.path.exists(place) and not os.path.exists(path):
            shutil.move(place, path)
    written = _executor_output(spec)
    parameters = _parameters(spec["outputs"]["parameters"], section(written, "parameterValues"))
    returned = section(written, "artifacts")
    artifacts = {
        name: _artifacts(name, entry, section(returned, name)) for name, entry in spec["outputs"]["artifacts"].items()
    }
    return parameters, artifacts


def _executor_output(spec: Mapping[str, Any]) -> dict[str, Any]:
    path = spec["executor_input"].get("outputs", {}).get("outputFile")
    if not path:
        return {}
    try:
        with open(path, "rb") as file:
            data = json.loads(file.read() or b"{}")
    except FileNotFoundError:
        return {}
    except ValueError as problem:
        raise AttemptFailed("OUTPUT_TYPE", "the executor output file is not JSON: %s" % problem) from None
    if not isinstance(data, dict):
        raise AttemptFailed("OUTPUT_TYPE", "the executor output file does not hold a JSON object")
    return cast("dict[str, Any]", data)


# ------------------------------------------------------------------ parameters
def _parameters(declared: Mapping[str, Any], returned: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    missing: list[str] = []
    wrong: list[str] = []
    for name, entry in declared.items():
        try:
            value = _parameter(entry, returned.get(name, _NOTHING))
        except ValueError as problem:
            wrong.append("output parameter %r: %s" % (name, problem))
            continue
        if value is _NOTHING:
            missing.append("output parameter %r was not written" % name)
        else:
            found[name] = value
    if missing or wrong:
        hint = "Return a value of the declared type, or write it to the path of its OutputPath."
        raise AttemptFailed("OUTPUT_MISSING" if missing else "OUTPUT_TYPE", "; ".join(missing + wrong), hint=hint)
    return found


def _parameter(entry: Mapping[str, Any], returned: Any) -> Any:
    if returned is not _NOTHING:
        return conform(returned, entry["type"])
    try:
        with open(entry["path"], encoding="utf-8", newline="") as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return _NOTHING
    except IsADirectoryError:
        raise ValueError("a folder was written where its text was expected") from None
    return parse_text(text, entry["type"])


# ------------------------------------------------------------------ artifacts
def _artifacts(name: str, entry: Mapping[str, Any], returned: Mapping[str, Any]) -> list[dict[str, Any]]:
    items = objects(returned, "artifacts")
    if not items:
        return [] if entry.get("list") else [_artifact(name, entry, {}, entry["path"])]
    return [_artifact(name, entry, item, entry["path"]) for item in items]


def _artifact(name: str, entry: Mapping[str, Any], item: Mapping[str, Any], path: str) -> dict[str, Any]:
    uri = local_uri(item.get("uri") or entry["uri"])
    if uri == entry["path"]:
        uri = entry["uri"]
    elif uri != entry["uri"]:
        path = uri if os.path.isabs(uri) else ""
    custom = item.get("custom_path") or ""
    if custom and path and os.path.exists(custom) and not _same(custom, path):
        _copy(custom, path)
    digest, size = "", None
    if path:
        try:
            digest, size = digest_path(path)
        except (FileNotFoundError, NotADirectoryError):
            pass
    metadata = item.get("metadata") if item else None
    return {
        "name": name,
        "uri": uri,
        "path": path,
        "type": entry["type"],
        "metadata": whole_numbers(dict(entry.get("metadata") or {}) if metadata is None else metadata),
        "digest": digest,
        "size": size,
    }


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _copy(source: str, target: str) -> None:
    """Bytes the task kept at a path of its own (``custom_path``) are stored where the artifact's URI says."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(source):
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)
