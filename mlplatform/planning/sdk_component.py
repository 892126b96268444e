"""What the SDK tells of a component in its source: the first line, a comment that no KFP backend minds.

``# mlplatform: {...}`` holds JSON: ``name``, ``parts`` (what the function is made of, each by digest: ``function
train``, ``helper clean``, ``global RATES``, ``module features.text``, ``package pandas`` ...), ``adapter`` (the form of
inputs and outputs), ``kfp`` (whether it needs kfp's runtime), ``reads`` (paths its author names), ``folders`` (where
the project's modules lie: two copies of a project may have other files beside them).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

_BEGIN: Final = "# mlplatform: "


@dataclass(frozen=True, slots=True)
class SdkComponent:
    """A component written with the SDK."""

    name: str
    parts: Mapping[str, str]
    adapter: int
    needs_kfp: bool = False
    reads: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    spec: str = ""
    packages: Mapping[str, str] = field(default_factory=dict[str, str])


@lru_cache(maxsize=1024)
def describe(source: str) -> SdkComponent | None:
    """What the first line of a source tells; None for sources that the SDK did not write."""
    if not source.startswith(_BEGIN):
        return None
    first, _, rest = source.partition("\n")
    try:
        told: Any = json.loads(first.removeprefix(_BEGIN))
        return SdkComponent(
            name=str(told["name"]),
            parts={str(key): str(value) for key, value in told["parts"].items()},
            adapter=int(told["adapter"]),
            needs_kfp=bool(told.get("kfp")),
            reads=tuple(str(path) for path in told.get("reads") or ()),
            folders=tuple(str(path) for path in told.get("folders") or ()),
            spec=_spec(rest),
            packages={str(key): str(value) for key, value in told.get("packages", {}).items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _spec(source: str) -> str:
    """How arguments and outputs hang together: the text of the call that ends the source."""
    last = source.rstrip("\n").rpartition("\n")[2]
    return last.rpartition(", '")[2] or last
