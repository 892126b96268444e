"""Where secrets of ``ml.secret`` are on this machine: the environment, or the home's ``secrets.json``."""

from __future__ import annotations

import json
import os
from typing import Any

from mlplatform.core.errors import NotFound
from mlplatform.engine.home import Home, open_home


def find_secret(name: str, home: Home | None = None) -> str:
    """The text of a secret. In a task: what the task was given. Raises NotFound, whose text has no secret."""
    for variable in (f"MLPLATFORM_SECRET_{name}", name):
        if variable in os.environ:
            return os.environ[variable]
    place = home or open_home()
    table = _file(place)
    if name in table:
        return table[name]
    raise NotFound(
        f"There is no secret {name!r}.",
        hint=f"Set the environment variable {name}, or put it into {place.secrets} (a JSON object, mode 0600). "
        "In a component, take it as an argument and pass ml.secret(...) in the pipeline function.",
    )


def has_secret(name: str, home: Home) -> bool:
    """Whether a run started from here would have it."""
    return name in os.environ or name in _file(home)


def _file(home: Home) -> dict[str, str]:
    try:
        found: Any = json.loads(home.secrets.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
