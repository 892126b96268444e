"""Names in compiled pipelines, as every KFP reader expects them."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

from mlplatform.core.errors import InvalidPipeline

#: What an input is called that a group of tasks has only because something inside it needs the value.
INJECTED: Final = "pipelinechannel--"
_PIPELINE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")


def kebab(name: str) -> str:
    """Lower case letters, digits and single dashes; may be empty."""
    return re.sub(r"-+", "-", re.sub(r"[^-0-9a-z]+", "-", name.lower())).strip("-")


def unique(name: str, taken: Container[str]) -> str:
    """``name``, or ``name-2``, ``name-3`` ... until it is free."""
    if name not in taken:
        return name
    number = 2
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"


def component_name(name: str) -> str:
    return "comp-" + kebab(name)


def executor_label(name: str) -> str:
    return "exec-" + kebab(name)


def pipeline_name(name: str) -> str:
    """A name as pipelines have it. Raises InvalidPipeline if nothing of it can be used."""
    found = kebab(name)[:128].rstrip("-")
    if not _PIPELINE_NAME.fullmatch(found):
        raise InvalidPipeline(
            f"{name!r} cannot be the name of a pipeline.", hint="Use letters, digits and dashes: name='train-daily'."
        )
    return found
