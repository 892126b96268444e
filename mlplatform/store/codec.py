"""How values become columns and come back as they were.

Two rules:

- **JSON columns** are ASCII: everything else is escaped. Integers, doubles and strings keep their type (``2``, ``2.0``,
  ``"2"``); NaN, the infinities and integers of any size survive, and so does a lone surrogate (a file name that is
  no UTF-8 has them). Two surrogates that form a pair come back as the one character they stand for.
- **Text columns**, which are searched and sorted, hold text as it is. What a database cannot hold (a NUL character,
  lone surrogates) is stored as the marker U+001A followed by its JSON escape; so is text that begins with the marker.
  Equal texts stay equal, different ones different.
- **Key columns** are text columns with an index, whose entries PostgreSQL limits: a text over 500 bytes is stored there
  as the marker, ``#`` and its SHA-256, and whole in the row's column ``long``.

The standard library reads and writes both: faster codecs write NaN as null or refuse surrogates, and cost more at
import than they save on the few records of a batch.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from mlplatform.core.errors import InvalidInput
from mlplatform.core.model import NO_VALUES, Artifact, ArtifactValue, TaskError, TaskKey, Values

_MARKER: Final = "\x1a"
_FAST_LEVEL: Final = 1
_KEY_BYTES: Final = 500


def _plain(value: object) -> object:
    """Mappings that are no dict (``core.model.EMPTY``, proxies)."""
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    raise TypeError(f"{type(value).__name__} is no JSON value")


_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=_plain).encode
_decode = json.JSONDecoder().decode


def to_json(value: object) -> str:
    """``value`` as ASCII JSON.

    Raises:
        InvalidInput: it is no JSON value, or nested too deeply.
    """
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidInput(f"a value cannot be stored: {reason}") from error


def from_json(text: str) -> Any:
    """The value of a JSON column."""
    return _decode(text)


def to_text(value: str) -> str:
    """``value`` for a text column."""
    if value.isascii() and "\0" not in value and not value.startswith(_MARKER):
        return value
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return _MARKER + _encode(value)
    return _MARKER + _encode(value) if "\0" in value or value.startswith(_MARKER) else value


def from_text(text: str) -> str:
    """What :func:`to_text` was given."""
    return cast(str, json.loads(text[1:])) if text.startswith(_MARKER) else text


def to_key(value: str) -> str:
    """``value`` for a key column."""
    return _key(to_text(value))


def _key(text: str) -> str:
    if 4 * len(text) <= _KEY_BYTES or len(text.encode("utf-8")) <= _KEY_BYTES:
        return text
    return f"{_MARKER}#{hashlib.sha256(text.encode('utf-8')).hexdigest()}"


def to_keys(values: Mapping[str, str]) -> tuple[list[str], str | None]:
    """Values of key columns in their order, and the column ``long``: those that were shortened, by their names."""
    texts = {name: to_text(value) for name, value in values.items()}
    keys = [_key(text) for text in texts.values()]
    shortened = {name: text for (name, text), key in zip(texts.items(), keys, strict=True) if key != text}
    return keys, to_json(shortened) if shortened else None


def whole(row: tuple[Any, ...], columns: Sequence[str]) -> tuple[Any, ...]:
    """A row, whose last column is ``long``, with its key columns as long as they were."""
    if row[-1] is None:
        return row
    texts = from_json(row[-1])
    return tuple(texts.get(name, value) for name, value in zip(columns, row, strict=True))


def pack(data: bytes) -> bytes:
    """Compressed bytes of a document."""
    return zlib.compress(data, _FAST_LEVEL)


def unpack(data: bytes) -> bytes:
    """What :func:`pack` was given."""
    return zlib.decompress(data)


# ------------------------------------------------------------------ parts of records
def path_to_text(key: TaskKey) -> tuple[str, str]:
    """The two texts of a task key; the first goes into a key column."""
    return to_json(key.path), ",".join(map(str, key.iteration))


def path_to_keys(key: TaskKey) -> tuple[str, str]:
    """The two columns of a task key, to look for."""
    path, iteration = path_to_text(key)
    return _key(path), iteration


def path_from_text(path: str, iteration: str) -> TaskKey:
    return TaskKey(tuple(from_json(path)), tuple(map(int, iteration.split(","))) if iteration else ())


def _artifact_to_json(artifact: Artifact) -> dict[str, Any]:
    data: dict[str, Any] = {"name": artifact.name, "uri": artifact.uri, "type": artifact.type}
    if artifact.metadata:
        data["metadata"] = dict(artifact.metadata)
    if artifact.digest:
        data["digest"] = artifact.digest
    if artifact.size is not None:
        data["size"] = artifact.size
    return data


def _artifact_from_json(data: Mapping[str, Any]) -> Artifact:
    return Artifact(
        data["name"],
        data["uri"],
        data["type"],
        data.get("metadata") or {},
        data.get("digest", ""),
        data.get("size"),
    )


def artifacts_to_json(artifacts: Mapping[str, ArtifactValue]) -> str:
    """Artifacts under their names; an empty text where there are none."""
    return to_json(_artifacts(artifacts)) if artifacts else ""


def _artifacts(artifacts: Mapping[str, ArtifactValue]) -> dict[str, Any]:
    return {
        name: _artifact_to_json(value) if isinstance(value, Artifact) else [_artifact_to_json(item) for item in value]
        for name, value in artifacts.items()
    }


def artifacts_from_json(text: str) -> dict[str, ArtifactValue]:
    return _artifacts_back(from_json(text)) if text else {}


def _artifacts_back(data: Mapping[str, Any]) -> dict[str, ArtifactValue]:
    return {
        name: tuple(map(_artifact_from_json, cast("list[Any]", value)))
        if isinstance(value, list)
        else _artifact_from_json(value)
        for name, value in data.items()
    }


def values_to_json(values: Values) -> str:
    """Inputs or outputs; an empty text where there are none."""
    if not values.parameters and not values.artifacts:
        return ""
    data: dict[str, Any] = {}
    if values.parameters:
        data["p"] = dict(values.parameters)
    if values.artifacts:
        data["a"] = _artifacts(values.artifacts)
    return to_json(data)


def values_from_json(text: str) -> Values:
    if not text:
        return NO_VALUES
    data = from_json(text)
    return Values(data.get("p") or {}, _artifacts_back(data.get("a") or {}))


def mapping_to_json(data: Mapping[str, Any]) -> str:
    """A mapping; an empty text where it is empty."""
    return to_json(dict(data)) if data else ""


def mapping_from_json(text: str) -> dict[str, Any]:
    return from_json(text) if text else {}


def error_to_json(error: TaskError | None) -> str | None:
    return None if error is None else to_json([error.code, error.message, error.traceback, error.hint])


def error_from_json(text: str | None) -> TaskError | None:
    return TaskError(*from_json(text)) if text else None
