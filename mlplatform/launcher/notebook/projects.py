# pyright: basic
"""Which modules are the project's: the notebook's own beside it, and nobody's package."""

from __future__ import annotations

import os
from typing import Any, Optional

_packages: Optional[tuple[str, ...]] = None


def is_project_module(name: str, module: Any) -> bool:
    """A module from a file that is neither the standard library's nor an installed package's."""
    global _packages
    if name == "__main__" or name.startswith("_mlplatform"):
        return False
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return False
    if _packages is None:
        from ..ignored import packages

        own = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        _packages = tuple({os.path.realpath(path) for path in packages()} | set(packages()) | {own})
    return not file.startswith(_packages)
