"""What a pod's launcher leaves behind: a termination message of at most 4,096 bytes, or one that says where in the log
the rest is. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from mlplatform.core.model import NO_VALUES, Artifact, ArtifactValue, TaskError, Values
from mlplatform.core.values import child

#: Begins the lines of a result that is too large for a termination message.
LINE: Final = "mlplatform-result: "
_LARGEST: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Result:
    """``state`` is SUCCEEDED, CACHED (an earlier result stands), FAILED, or TERMINATED (it was told to stop).
    ``cached_from``: whose result it is, ``image`` the digest of the image that it was made in. ``note``: why an earlier
    one does not stand; ``peers``: whom it talked to."""

    state: str
    values: Values = NO_VALUES
    error: TaskError | None = None
    retryable: bool = True
    finished_at: float | None = None
    log_uri: str = ""
    cached_from: str = ""
    image: str = ""
    note: str = ""
    peers: tuple[str, ...] = ()
    #: Why a good one is not kept for reuse.
    unkept: str = ""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The result is in the last ``lines`` lines of the log; ``digest`` is that of its JSON."""

    lines: int
    digest: str


def read_message(text: str) -> Result | Elsewhere | None:
    """The launcher's message, or None if this is none."""
    data = _object(text)
    if data is None or data.get("mlplatform") != 1:
        return None
    place = child(data, "log")
    if place:
        lines, digest = place.get("lines"), place.get("sha256")
        return Elsewhere(lines, digest) if isinstance(lines, int) and isinstance(digest, str) else None
    if "z" in data:
        data = _unpacked(str(data["z"]))
        if data is None:
            return None
    return _result(data)


def read_lines(lines: Sequence[str], digest: str) -> Result | None:
    """The result that was written into the log, or None if these lines do not hold it."""
    packed = "".join(line.strip()[len(LINE) :] for line in lines if line.startswith(LINE))
    data = _unpacked(packed)
    if data is None or hashlib.sha256(canonical(data)).hexdigest() != digest:
        return None
    return _result(data)


def canonical(data: Mapping[str, Any]) -> bytes:
    """The bytes whose digest is told."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _object(text: str) -> dict[str, Any] | None:
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", data) if isinstance(data, dict) else None


def _unpacked(packed: str) -> dict[str, Any] | None:
    try:
        inflate = zlib.decompressobj()
        raw = inflate.decompress(base64.b64decode(packed, validate=True), _LARGEST)
    except (ValueError, zlib.error):
        return None
    return _object(raw.decode("utf-8", "replace")) if inflate.eof else None


def _result(data: Mapping[str, Any]) -> Result:
    artifacts: dict[str, ArtifactValue] = {}
    lists = set(cast("list[str]", data.get("lists") or []))
    for name, items in child(data, "artifacts").items():
        found = tuple(Artifact.from_json({**item, "name": item.get("name") or name}) for item in items)
        if name in lists:
            artifacts[name] = found
        elif found:
            artifacts[name] = found[0]
    at = data.get("finished_at")
    return Result(
        state=str(data.get("state") or "FAILED"),
        values=Values(child(data, "parameters"), artifacts),
        error=TaskError.from_json(child(data, "error")),
        retryable=bool(data.get("retryable", True)),
        finished_at=round(float(at), 3) if isinstance(at, (int, float)) else None,
        log_uri=str(data.get("log_uri") or ""),
        cached_from=str(child(data, "cached").get("source") or ""),
        image=str(child(data, "cached").get("image") or ""),
        note=str(data.get("note") or ""),
        peers=tuple(map(str, cast("list[Any]", data.get("peers") or []))),
    )
