"""Cell tags: Kale's language, and papermill's ``parameters``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from mlplatform.core.errors import Finding
from mlplatform.notebook.model import Cell, Settings

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_-]*"
_STEP: Final = re.compile(rf"(?:step|block):({_NAME})?")
_PREV: Final = re.compile(rf"prev:({_NAME})")
_POD: Final = re.compile(r"(annotation|label):([A-Za-z0-9][A-Za-z0-9_./-]*):(.*)", re.DOTALL)
_LIMIT: Final = re.compile(r"limit:([A-Za-z0-9_./-]+):([A-Za-z0-9_.]+)")
_IMAGE: Final = re.compile(r"(?:base_)?image:(\S+)")
_CACHE: Final = re.compile(r"(?:enable_)?cache:(\w+)")
_YES, _NO = frozenset({"enabled", "true", "yes", "on"}), frozenset({"disabled", "false", "no", "off"})
#: Kale's tags for cells that belong to no step, and what tasks made of them are called.
ROLES: Final = {
    "imports": "imports",
    "functions": "functions",
    "pipeline-parameters": "parameters",
    "pipeline-metrics": "metrics",
}
PARAMETERS: Final = frozenset({"parameters", "pipeline-parameters"})
#: Tags that begin like one of Kale's, and are probably meant to be one.
_LOOKS_LIKE: Final = re.compile(r"(?:step|block|prev|limit|annotation|label|image|base_image|cache|enable_cache):")


@dataclass(slots=True)
class CellTags:
    """What the tags of one cell say. ``role``: one of ROLES; ``step``: a step's name; "" for a cell without."""

    role: str = ""
    step: str = ""
    prev: list[str] = field(default_factory=list[str])
    image: str = ""
    cache: bool | None = None
    limits: dict[str, str] = field(default_factory=dict[str, str])
    labels: dict[str, str] = field(default_factory=dict[str, str])
    annotations: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def settings(self) -> Settings:
        return Settings(self.image, self.limits, self.labels, self.annotations, self.cache)


def read_tags(tags: Iterable[str], at: str, findings: list[Finding]) -> CellTags:
    """The meaning of a cell's tags; what is nearly one of Kale's is a finding at ``at``."""
    told = CellTags()
    for tag in tags:
        if tag in ROLES:
            told.role = tag
        elif match := _STEP.fullmatch(tag):
            if match[1] and told.step and told.step != match[1]:
                message = f"names two steps, {told.step!r} and {match[1]!r}"
                findings.append(Finding(at, message, "conflict", "a cell belongs to one step"))
            told.step = match[1] or told.step
        elif match := _PREV.fullmatch(tag):
            told.prev.append(match[1])
        elif match := _POD.fullmatch(tag):
            (told.annotations if match[1] == "annotation" else told.labels)[match[2]] = match[3]
        elif match := _LIMIT.fullmatch(tag):
            told.limits[match[1]] = match[2]
        elif match := _IMAGE.fullmatch(tag):
            told.image = match[1]
        elif (match := _CACHE.fullmatch(tag)) and match[1].lower() in _YES | _NO:
            told.cache = match[1].lower() in _YES
        elif _LOOKS_LIKE.match(tag):
            findings.append(Finding(at, f"the tag {tag!r} cannot be understood", "bad-tag", _expected(tag)))
    return told


def is_tagged(cells: Iterable[Cell]) -> bool:
    """Whether a notebook is split by tags: some cell that runs names a step."""
    return any(cell.runs and any(_STEP.match(tag) and not tag.endswith(":") for tag in cell.tags) for cell in cells)


def defaults(metadata: Mapping[str, Any]) -> Settings:
    """What Kale's notebook metadata asks of every step."""
    kale: Any = metadata.get("kubeflow_notebook")
    if not isinstance(kale, dict):
        return Settings()
    table = cast("dict[str, Any]", kale)
    steps: Any = table.get("steps_defaults")
    told = read_tags([str(tag) for tag in cast("list[Any]", steps)] if isinstance(steps, list) else [], "", [])
    told.image = told.image or str(table.get("docker_image") or table.get("base_image") or "")
    return told.settings


def merged(own: Settings, default: Settings) -> Settings:
    """A step's settings, with the notebook's where it has none of its own."""
    return Settings(
        own.image or default.image,
        {**default.limits, **own.limits},
        {**default.labels, **own.labels},
        {**default.annotations, **own.annotations},
        default.cache if own.cache is None else own.cache,
    )


def _expected(tag: str) -> str:
    kind = tag.partition(":")[0]
    return {
        "step": "write step:NAME in letters, digits and _",
        "block": "write step:NAME in letters, digits and _",
        "prev": "write prev:NAME with the name of a step above",
        "limit": "write limit:RESOURCE:AMOUNT, such as limit:memory:4Gi or limit:nvidia.com/gpu:1",
        "annotation": "write annotation:KEY:VALUE",
        "label": "write label:KEY:VALUE",
        "cache": "write cache:enabled or cache:disabled",
        "enable_cache": "write cache:enabled or cache:disabled",
    }.get(kind, "write image:NAME")
