"""Inputs in, outputs out: through the same artifact stores as on one machine."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from mlplatform.core.errors import MlPlatformError

from ..failures import AttemptFailed
from ..outputs import as_path
from . import places
from .values import gone, place_of, stores

#: Tells processes of the task how the store is reached, without secrets.
STORE_VARIABLE = "MLPLATFORM_STORE"
NOWHERE = "nowhere:"


def use_store(told: Mapping[str, Any]) -> None:
    """Make this process know the store: its address, and its keys where a secret with them is mounted."""
    stores.cache_clear()
    if endpoint := told.get("endpoint"):
        os.environ["MLPLATFORM_S3_ENDPOINT"] = str(endpoint)
    if region := told.get("region"):
        os.environ["AWS_DEFAULT_REGION"] = str(region)
    try:
        names = os.listdir(places.store_secret())
    except OSError:
        return
    for name in names:
        path = os.path.join(places.store_secret(), name)
        if not name.startswith(".") and os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                os.environ[name] = file.read().strip()


def prepare(request: Mapping[str, Any]) -> None:
    """Open the client of the store beside the task, which then need not wait for it at its end."""
    uri = str(request.get("log_uri") or "")
    if "://" in uri and not uri.startswith(NOWHERE):
        threading.Thread(target=_open, args=(uri,), name="store", daemon=True).start()


def _open(uri: str) -> None:
    with contextlib.suppress(MlPlatformError, OSError):  # whoever uses it is told
        stores().open(uri)


def fetch_command(uri: str, path: str) -> int:
    """``launcher fetch URI PATH``, for tasks that ask for the bytes of an input."""
    use_store(json.loads(os.environ.get(STORE_VARIABLE) or "{}"))
    try:
        stores().fetch(uri, Path(path))
    except MlPlatformError as error:
        words = f"{error.message} ({error.hint.rstrip('.')})" if error.hint else error.message
        sys.stderr.write(words.replace("\n", " ") + "\n")
        return 1
    return 0


def fetch(inputs: Mapping[str, str], without_bytes: frozenset[str], folder: str = "") -> None:
    """Bring inputs to their paths. ``without_bytes``: URIs of artifacts that are known to hold nothing. ``folder``:
    where a command runs; there it finds them too if it takes their URIs for paths.

    Raises:
        AttemptFailed: one cannot be had.
    """
    artifacts = stores()
    for uri, path in inputs.items():
        if uri in without_bytes or os.path.exists(path):
            continue
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            artifacts.fetch(uri, Path(path))
            _link(path, as_path(uri, folder) if folder else "")
        except MlPlatformError as error:
            raise AttemptFailed(error.code, f"an input could not be fetched: {error.message}", error.hint) from None
        except OSError as problem:
            raise AttemptFailed("SYSTEM", f"an input could not be fetched: {problem}") from None


def _link(path: str, place: str) -> None:
    """Have an input at a second place, unless that is within another input, which then holds what is there."""
    if place:
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.symlink(path, place)


def changed(earlier: Mapping[str, Any]) -> str:
    """Why an earlier result does not stand any more, "" where all its artifacts are as they were. ``earlier``: as the
    controller tells it (``mlplatform.controllers.pipelinerun.reuse``)."""
    artifacts, mounted = stores(), str(earlier.get("mounted") or "")
    for name, items in cast("dict[str, list[dict[str, Any]]]", earlier["artifacts"]).items():
        for item in items:
            if not item.get("digest"):
                continue  # metadata alone
            try:
                digest, _ = artifacts.digest(place_of(str(item["uri"]), mounted))
            except (MlPlatformError, OSError):
                return f"its output {name!r} is no longer there"
            if digest != item["digest"]:
                return f"its output {name!r} was changed after it was written"
    return gone(earlier["parameters"], mounted)


def keep_outputs(result: dict[str, Any], request: Mapping[str, Any]) -> None:
    """Bring the artifacts of a result to where everybody finds them, and say so in the result.

    Raises:
        AttemptFailed: one cannot be kept.
    """
    for name, entry in request["outputs"]["artifacts"].items():
        for item in cast("list[dict[str, Any]]", result["artifacts"].get(name) or []):
            _keep(name, entry, item, str(request.get("mounted") or ""))


def _keep(name: str, entry: Mapping[str, Any], item: dict[str, Any], mounted: str) -> None:
    path = str(item.pop("path", "") or "")
    item["uri"] = _final_uri(str(item["uri"]), entry, mounted)
    if not path or not os.path.exists(path) or (mounted and item["uri"].startswith(mounted)):
        return
    if "://" in item["uri"] and not item["uri"].startswith(str(entry["uri"])):
        return  # the task put it there itself
    if item["uri"].startswith(NOWHERE):
        if not item.get("size"):
            return
        raise AttemptFailed(
            "NO_STORE",
            f"artifact {name!r} cannot be kept: the run has no artifact store",
            "Give it one: spec.store with an s3:// URI or a shared claim (options store=...).",
        )
    try:
        stores().put(Path(path), item["uri"])
    except MlPlatformError as error:
        raise AttemptFailed(error.code, f"artifact {name!r} could not be kept: {error.message}", error.hint) from None


def _final_uri(uri: str, entry: Mapping[str, Any], mounted: str) -> str:
    """Where everybody finds what this pod calls ``uri``."""
    path = str(entry["path"])
    if uri == path or uri.startswith(path + "/"):
        return str(entry["uri"]) + uri[len(path) :]
    here = places.store()
    if mounted and uri.startswith(here + "/"):
        return mounted + uri[len(here) :]
    if "://" not in uri and uri.startswith("/"):
        return str(entry["uri"])  # a place of this pod alone: its bytes are kept where the artifact belongs
    return uri


def keep_cells(request: Mapping[str, Any]) -> None:
    """Keep what a notebook's cells said; where that cannot be had, the log still tells it."""
    entry = request["outputs"]["artifacts"]["notebook-cells"]
    if not os.path.exists(entry["path"]) or str(entry["uri"]).startswith(NOWHERE):
        return
    try:
        stores().put(Path(entry["path"]), entry["uri"])
    except (MlPlatformError, OSError) as problem:
        sys.stderr.write(f"mlplatform: the outputs of the cells could not be kept: {problem}\n")


def keep_log(path: str, request: Mapping[str, Any]) -> None:
    """Keep the log beside the outputs; a log that cannot be kept fails no task."""
    uri, mounted = str(request.get("log_uri") or ""), str(request.get("mounted") or "")
    if not uri or uri.startswith(NOWHERE) or not os.path.exists(path):
        return
    if mounted and uri.startswith(mounted + "/"):
        uri = places.store() + uri[len(mounted) :]
    try:
        stores().put(Path(path), uri)
    except (MlPlatformError, OSError) as problem:
        sys.stderr.write(f"mlplatform: the log could not be kept: {problem}\n")
