"""The one date of everything in an image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime

from mlplatform.core.errors import Finding, InvalidInput


def source_date(environ: Mapping[str, str] | None = None) -> int:
    """``SOURCE_DATE_EPOCH`` in seconds since 1970, 0 if it is unset. Raises InvalidInput if it is no number."""
    text = (os.environ if environ is None else environ).get("SOURCE_DATE_EPOCH", "")
    if text and not (text.isascii() and text.isdigit() and int(text) < 1 << 33):
        finding = Finding("SOURCE_DATE_EPOCH", f"{text!r} is no number of seconds since 1970")
        raise InvalidInput("The date of the image cannot be read.", findings=[finding])
    return int(text or 0)


def told(date: int) -> str:
    """As image configurations write it: ``1970-01-01T00:00:00Z``."""
    return datetime.fromtimestamp(date, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
