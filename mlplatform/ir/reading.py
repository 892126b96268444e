"""Reading protobuf JSON: field names in both spellings, protobuf's lenient numbers, every finding kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, TypeVar, cast

from mlplatform.core.errors import Finding
from mlplatform.core.values import JsonValue, preview, type_name, whole_numbers
from mlplatform.ir import paths

#: Written names of a message's fields, JSON and snake case, with the JSON name of each.
Fields = Mapping[str, str]
_Enum = TypeVar("_Enum", bound=StrEnum)
_HUMP: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")
_DURATION: Final = re.compile(r"(-?\d{1,12}(?:\.\d{1,9})?)s")
_MAX_FINDINGS: Final = 1000


def snake(name: str) -> str:
    """``outputParameterKey`` as ``output_parameter_key``."""
    return _HUMP.sub(r"_\1", name).lower()


def fields(names: str) -> Fields:
    """The table for the JSON names in ``names``, separated by spaces."""
    return {spelling: name for name in names.split() for spelling in (name, snake(name))}


class Reading:
    """Collects what is wrong with a document, and what of it has no field in the model."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.extras: dict[str, Any] = {}
        self.dropped = 0
        self._renamed: dict[str, str] = {}

    def add(self, path: str, message: str, code: str = "wrong-type", hint: str = "") -> None:
        if len(self.findings) >= _MAX_FINDINGS:
            self.dropped += 1
        else:
            self.findings.append(Finding(path, message, code, hint))

    def all_findings(self) -> tuple[Finding, ...]:
        if not self.dropped:
            return tuple(self.findings)
        return (*self.findings, Finding("", f"and {self.dropped} more of these", "too-many"))

    def wrong(self, path: str, expected: str, value: Any, hint: str = "") -> None:
        self.add(path, f"expected {expected}, got {type_name(value)} {preview(value)}", hint=hint)

    def message(self, value: Any, path: str, table: Fields, nullable: frozenset[str] = frozenset()) -> Message:
        """Read ``value`` as a message with the fields of ``table``; unknown ones go to ``extras``.

        A null field is an unset field, as in protobuf, except for those in ``nullable``, where null is a value.
        """
        message = self._message(value, path, table, nullable)
        for key in message.unknown:
            self.extras[paths.child(path, key)] = value[key]
        return message

    def strict_message(self, value: Any, path: str, table: Fields) -> Message:
        """Like :meth:`message`, but unknown fields are findings at once."""
        message = self._message(value, path, table, frozenset())
        for key in message.unknown:
            hint = f"known here: {', '.join(sorted(set(table.values())))}"
            self.add(paths.child(path, key), "this field is not known", "unknown-field", hint)
        return message

    def renamed(self, written: str, name: str) -> None:
        """Remember that the last step of path ``written`` is the field with the JSON name ``name``."""
        self._renamed[written] = name

    def canonical_extras(self, prefix: str) -> dict[str, Any]:
        """``extras`` by paths of JSON names, without the leading ``prefix``."""
        found: dict[str, Any] = {}
        for path, value in self.extras.items():
            written = made = ""
            for step in paths.split(path.removeprefix(prefix)):
                if isinstance(step, int):
                    written, made = paths.element(written, step), paths.element(made, step)
                else:
                    written = paths.child(written, step)
                    at = f"{prefix}.{written}" if prefix else written
                    made = paths.child(made, self._renamed.get(at, step))
            found[made] = value
        return found

    def _message(self, value: Any, path: str, table: Fields, nullable: frozenset[str]) -> Message:
        values: dict[str, Any] = {}
        written: dict[str, str] = {}
        unknown: list[str] = []
        if value is not None and not isinstance(value, dict):
            self.wrong(path, "a mapping", value)
        elif value:
            for key, item in cast("dict[str, Any]", value).items():
                name = table.get(key)
                if name is None:
                    unknown.append(key)
                elif item is not None or name in nullable:
                    if name in values:
                        self.add(paths.child(path, key), f"the same field as {written[name]!r}", "duplicate-key")
                    values[name] = item
                    written[name] = key
        return Message(self, path, values, written, unknown)


class Message:
    """One message being read. Getters return the field's default if it is unset or wrong; wrong ones are findings."""

    __slots__ = ("path", "reading", "unknown", "values", "written")

    def __init__(
        self,
        reading: Reading,
        path: str,
        values: dict[str, Any],
        written: dict[str, str],
        unknown: Sequence[str] = (),
    ) -> None:
        self.reading = reading
        self.path = path
        self.values = values
        self.written = written
        self.unknown = unknown

    def has(self, name: str) -> bool:
        return name in self.values

    def at(self, name: str) -> str:
        """The path of field ``name`` as it was written."""
        written = self.written.get(name, name)
        path = paths.child(self.path, written)
        if written != name:
            self.reading.renamed(path, name)
        return path

    def raw(self, name: str) -> Any:
        return self.values.get(name)

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if value is None or isinstance(value, str):
            return value or ""
        hint = "put it in quotes" if isinstance(value, (int, float)) else ""
        self.reading.wrong(self.at(name), "text", value, hint)
        return ""

    def needed(self, name: str) -> str:
        """A text field that has to be there."""
        if name not in self.values or self.values[name] == "":
            self.reading.add(self.path, f"{name} is missing", "missing")
        return self.text(name)

    def flag(self, name: str) -> bool:
        value = self.values.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.reading.wrong(self.at(name), "true or false", value)
        return False

    def number(self, name: str) -> float | None:
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, str):
            try:
                value = whole_numbers(float(value))
            except ValueError:
                pass
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        self.reading.wrong(self.at(name), "a number", value)
        return None

    def integer(self, name: str) -> int | None:
        value = self.number(name) if name in self.values else None
        if value is None:
            return None
        if isinstance(value, float) and not value.is_integer():
            self.reading.wrong(self.at(name), "a whole number", value)
            return None
        return int(value)

    def duration(self, name: str) -> float | None:
        """Seconds of a ``google.protobuf.Duration``, written as text such as ``3.5s``."""
        value = self.values.get(name)
        if value is None:
            return None
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            self.reading.wrong(self.at(name), "a duration such as 30s", value)
            return None
        return cast(float, whole_numbers(float(match[1])))

    def enum(self, name: str, kind: type[_Enum], default: _Enum, numbers: Mapping[int, str]) -> _Enum:
        """An enumeration's value by its name, or by its number in the protobuf definition."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = numbers.get(int(value), value)
        if isinstance(value, str) and value in kind.__members__:
            return kind[value]
        self.reading.wrong(self.at(name), f"one of {', '.join(kind.__members__)}", value)
        return default

    def items(self, name: str) -> Iterator[tuple[str, Any]]:
        """The elements of a list field, each with its path."""
        value = self.values.get(name)
        if value is None:
            return
        if not isinstance(value, list):
            self.reading.wrong(self.at(name), "a list", value)
            return
        base = self.at(name)
        for index, item in enumerate(cast("list[Any]", value)):
            yield paths.element(base, index), item

    def texts(self, name: str) -> tuple[str, ...]:
        found: list[str] = []
        for path, item in self.items(name):
            if isinstance(item, str):
                found.append(item)
            else:
                hint = "put it in quotes" if isinstance(item, (int, float)) else ""
                self.reading.wrong(path, "text", item, hint)
        return tuple(found)

    def entries(self, name: str) -> Iterator[tuple[str, str, Any]]:
        """The entries of a map field: key, path, value."""
        value = self.values.get(name)
        if value is None:
            return
        if not isinstance(value, dict):
            self.reading.wrong(self.at(name), "a mapping", value)
            return
        base = self.at(name)
        for key, item in cast("dict[str, Any]", value).items():
            yield key, paths.child(base, key), item

    def text_map(self, name: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for key, path, item in self.entries(name):
            if isinstance(item, str):
                found[key] = item
            else:
                self.reading.wrong(path, "text", item, "put it in quotes" if isinstance(item, (int, float)) else "")
        return found

    def struct(self, name: str) -> dict[str, JsonValue]:
        """A ``google.protobuf.Struct``, whole numbers as integers."""
        value = self.values.get(name)
        if value is None or isinstance(value, dict):
            return cast("dict[str, JsonValue]", whole_numbers(cast("JsonValue", value or {})))
        self.reading.wrong(self.at(name), "a mapping", value)
        return {}

    def json(self, name: str) -> JsonValue:
        """A ``google.protobuf.Value``, whole numbers as integers."""
        return whole_numbers(self.values.get(name))

    def message(self, name: str, table: Fields, nullable: frozenset[str] = frozenset()) -> Message:
        """A message field; an unset one reads as an empty message."""
        return self.reading.message(self.values.get(name), self.at(name), table, nullable)

    def only_one(self, *names: str) -> None:
        """Report it if more than one field of a ``oneof`` is set."""
        found = [name for name in names if name in self.values]
        if len(found) > 1:
            self.reading.add(self.path, f"only one of {' and '.join(found)} may be set", "conflict")
