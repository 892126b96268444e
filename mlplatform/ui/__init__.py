"""The pages of the UI: TypeScript sources beside this file, built into ``static`` when the package is built."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: The folder with ``index.html`` and what it needs; not there where the package was built without pages.
STATIC: Final = Path(__file__).resolve().parent / "static"


def static_folder() -> Path | None:
    """:data:`STATIC`; None where the package was built without pages."""
    return STATIC if (STATIC / "index.html").is_file() else None
