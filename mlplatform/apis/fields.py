"""How a field of an API object is declared: what is told of it, and what the API server holds it to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field
from typing import Any, Final

from mlplatform.core.model import EMPTY

_KEY: Final = "mlplatform.apis"


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL rule of the API server (``x-kubernetes-validations``), and what it says when it is broken."""

    rule: str
    message: str
    field_path: str = ""

    def to_json(self) -> dict[str, Any]:
        told = {"rule": self.rule, "message": self.message}
        return told | ({"fieldPath": self.field_path} if self.field_path else {})


def same(member: str, new: str = "self", old: str = "oldSelf") -> str:
    """The rule that an optional member is as it was. Each look at a member takes an API server as long as the object
    around it has members (it makes a table of them all), and every write of a status asks every rule: so as few looks
    as can be. (``?`` would say it shorter, but its cost counts as boundless.)"""
    return f"(has({new}.{member}) ? has({old}.{member}) && {new}.{member} == {old}.{member} : !has({old}.{member}))"


@dataclass(frozen=True, slots=True)
class About:
    """What the schema says of a field. ``any_json``: its members are anything; with ``shape``, those that this
    dataclass names are held to what it says. ``time``: an RFC 3339 time. ``keys``: the list is a map by these members;
    ``unique``: it is a set. ``each``: what is told of a list's or a map's items. ``given``: the API server fills in the
    default; ``needed``: it wants one to be said, though there is a default here. ``not_pattern``: what a text must not
    be."""

    description: str
    minimum: int | None = None
    maximum: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    max_properties: int | None = None
    pattern: str = ""
    not_pattern: str = ""
    enum: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    unique: bool = False
    each: About | None = None
    any_json: bool = False
    shape: type | None = None
    time: bool = False
    given: bool = False
    needed: bool = False
    rules: tuple[Rule, ...] = ()


_PLAIN: Final = About("")


def told(description: str, default: Any = MISSING, *, factory: Any = MISSING, **limits: Any) -> Any:
    """A dataclass field with its description and limits (those of :class:`About`)."""
    metadata = {_KEY: About(description, **limits)}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def anything(description: str, **limits: Any) -> Any:
    """A field that holds a JSON object of any form, empty by default."""
    return told(description, EMPTY, any_json=True, **limits)


def about(item: Field[Any]) -> About:
    found: Mapping[str, Any] = item.metadata
    return found.get(_KEY, _PLAIN)


def json_name(name: str) -> str:
    """``run_as_user`` as the API spells it: ``runAsUser``."""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)
