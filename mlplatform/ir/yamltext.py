"""Documents as YAML text."""

from __future__ import annotations

import importlib
from typing import Any, cast

import yaml


def _no_aliases(_dumper: Any, _data: Any) -> bool:
    return True


def _dumper() -> Any:
    """PyYAML's safe dumper, in C where it was built so, that writes what occurs twice twice and not as an alias."""
    base: Any = yaml.SafeDumper
    if yaml.__with_libyaml__:
        base = cast("Any", importlib.import_module("yaml.cyaml")).CSafeDumper
    return type("PlainDumper", (base,), {"ignore_aliases": _no_aliases})


_DUMPER: Any = _dumper()


def write(documents: list[Any]) -> str:
    """``documents`` as one YAML stream, keys sorted. ASCII only: PyYAML loses some line separators written plainly."""
    return yaml.dump_all(documents, Dumper=_DUMPER, default_flow_style=False, width=120)
