"""Parameters too large for an object of the cluster: through the store, in and out."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlplatform.artifacts.facade import Artifacts
from mlplatform.core.errors import MlPlatformError
from mlplatform.core.large import ROOM, Large, find, replaced

from ..failures import AttemptFailed
from . import places

#: Bytes of parameters that objects of the cluster can just hold, where there is no store.
LARGEST = 700 * 1024


@functools.lru_cache(maxsize=1)
def stores() -> Artifacts:
    """The stores of this process: a client is opened once."""
    return Artifacts()


def place_of(uri: str, mounted: str) -> str:
    """Where this pod finds a URI of the store."""
    return places.store() + uri[len(mounted) :] if mounted and uri.startswith(mounted + "/") else uri


def bring(request: dict[str, Any]) -> None:
    """Put large inputs of a Python component back in their place. Raises AttemptFailed."""
    inputs = request["executor_input"]["inputs"]
    inputs["parameterValues"] = replaced(inputs["parameterValues"], lambda large: _fetched(large, request))


def _fetched(large: Large, request: Mapping[str, Any]) -> Any:
    path = places.work("values", hashlib.sha256(large.uri.encode()).hexdigest()[:32])
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        if not os.path.exists(path):
            stores().fetch(place_of(large.uri, str(request.get("mounted") or "")), Path(path))
        with open(path, "rb") as file:
            data = file.read()
    except MlPlatformError as error:
        raise AttemptFailed(error.code, f"a large value could not be fetched: {error.message}", error.hint) from None
    except OSError as problem:
        raise AttemptFailed("SYSTEM", f"a large value could not be fetched: {problem}") from None
    if _digest(data) != large.digest:
        raise AttemptFailed(
            "INPUT_CHANGED",
            f"the value at {large.uri} is another one than was written there",
            "Run the task that makes it again (--no-cache).",
        )
    return data.decode("utf-8", "surrogatepass") if large.kind == "text" else json.loads(data)


def keep(result: dict[str, Any], request: Mapping[str, Any]) -> None:
    """Bring the largest parameters of a result to the store, until the rest fits. Raises AttemptFailed."""
    parameters: dict[str, Any] = result.get("parameters") or {}
    sizes = {name: len(json.dumps(value)) for name, value in parameters.items()}
    if sum(sizes.values()) <= ROOM:
        return
    if not request.get("values_uri"):
        if sum(sizes.values()) <= LARGEST:
            return
        largest = max(sizes, key=lambda name: sizes[name])
        raise AttemptFailed(
            "NO_STORE",
            f"output {largest!r} has {sizes[largest] // 1024} KiB, too much for the cluster's objects, and the run has "
            "no artifact store",
            "Give it one: spec.store with an s3:// URI or a shared claim (options store=...).",
        )
    for name in sorted(sizes, key=lambda name: sizes[name], reverse=True):
        if sum(sizes.values()) <= ROOM:
            return
        parameters[name] = str(_kept(name, parameters[name], request))
        sizes[name] = len(parameters[name])


def _kept(name: str, value: Any, request: Mapping[str, Any]) -> Large:
    text = isinstance(value, str)
    data = (value if text else json.dumps(value, ensure_ascii=False)).encode("utf-8", "surrogatepass")
    uri = f"{request['values_uri']}/{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    path = places.work("attempt", "value")
    try:
        Path(path).write_bytes(data)
        stores().put(Path(path), place_of(uri, str(request.get("mounted") or "")))
        os.unlink(path)
    except MlPlatformError as error:
        raise AttemptFailed(error.code, f"output {name!r} could not be kept: {error.message}", error.hint) from None
    except OSError as problem:
        raise AttemptFailed("SYSTEM", f"output {name!r} could not be kept: {problem}") from None
    return Large(_digest(data), len(data), "text" if text else "json", uri)


def gone(parameters: Mapping[str, Any], mounted: str) -> str:
    """Why large values of an earlier result do not stand any more, "" where they are as they were."""
    for large in find(parameters):
        path = places.work("values", hashlib.sha256(large.uri.encode()).hexdigest()[:32])
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            stores().fetch(place_of(large.uri, mounted), Path(path))
            changed = _digest(Path(path).read_bytes()) != large.digest
            os.unlink(path)
        except (MlPlatformError, OSError):
            return "a large value of it is no longer there"
        if changed:
            return "a large value of it was changed after it was written"
    return ""


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
