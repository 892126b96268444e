"""KFP's placeholders: ``{{$.inputs.parameters['x']}}`` in texts, ``IfPresent`` and ``Concat`` in argument lists.

Only constants of a pipeline document are templates (constants of task inputs, a container's command, arguments,
environment, image and resource texts, an importer's URI and metadata). Values that come in at run time are never
parsed. What each placeholder stands for is documented in the public ``kfp.dsl`` reference; the forms are those the
SDK writes, with either kind of quotes around names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias, cast

from mlplatform.core.errors import Finding, InvalidPipeline

_MAX_DEPTH: Final = 64
_OPEN: Final = "{{$"


class RefKind(StrEnum):
    """What a placeholder refers to."""

    INPUT_PARAMETER = "INPUT_PARAMETER"
    INPUT_ARTIFACT = "INPUT_ARTIFACT"
    OUTPUT_PARAMETER = "OUTPUT_PARAMETER"
    OUTPUT_ARTIFACT = "OUTPUT_ARTIFACT"
    EXECUTOR_INPUT = "EXECUTOR_INPUT"
    RUN = "RUN"


#: Names of :attr:`RefKind.RUN` references: facts of the run and the task that are not inputs.
RUN_FIELDS: Final = frozenset(
    {
        "pipeline_job_name",
        "pipeline_job_resource_name",
        "pipeline_job_uuid",
        "pipeline_job_create_time_utc",
        "pipeline_job_schedule_time_utc",
        "pipeline_task_name",
        "pipeline_task_uuid",
        "pipeline_root",
        "workspace_path",
        "outputs.output_file",
        "outputMetadataUri",
    }
)

#: What may follow an artifact's name; the empty field stands for the whole artifact list as JSON.
ARTIFACT_FIELDS: Final = frozenset({"", "path", "uri", "name", "metadata"})


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text of a template."""

    text: str


@dataclass(frozen=True, slots=True)
class Reference:
    """One placeholder.

    Attributes:
        kind: what it refers to.
        name: the input's or output's name; for ``RUN`` one of :data:`RUN_FIELDS`; empty for ``EXECUTOR_INPUT``.
        field: of artifacts one of :data:`ARTIFACT_FIELDS`, of output parameters ``output_file``, else empty.
        keys: for the field ``metadata``: the path into it; empty means all of it, as JSON.
        escape: how many times the rendered text is escaped as the inside of a JSON string (``json_escape[n]``).
        text: the placeholder as it was written.
    """

    kind: RefKind
    name: str = ""
    field: str = ""
    keys: tuple[str, ...] = ()
    escape: int = 0
    text: str = ""


Segment: TypeAlias = "Text | Reference"


@dataclass(frozen=True, slots=True)
class Template:
    """A text with placeholders; renders to one argument."""

    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Concat:
    """Renders its items (absent ones left out) into one argument."""

    items: tuple[Structure, ...]


@dataclass(frozen=True, slots=True)
class IfPresent:
    """``then`` if input ``input_name`` (parameter or artifact) has a value, else ``otherwise``.

    Each is a tuple of arguments, empty where the document gives none; inside a :class:`Concat` they are joined.
    """

    input_name: str
    then: tuple[Structure, ...]
    otherwise: tuple[Structure, ...] = ()


Structure: TypeAlias = "Template | Concat | IfPresent"

_QUOTE: Final = r"""\\?(?:''|'|")"""
_NAME: Final = r"""[^'"\\]*"""
_PLACEHOLDER: Final = re.compile(
    rf"""
    \{{\{{\$
    (?: \.(?P<side>inputs|outputs)\.(?P<what>parameters|artifacts) \[{_QUOTE}(?P<name>{_NAME}){_QUOTE}\]
        (?: \.(?P<field>output_file|path|uri|name|metadata) (?P<keys>(?:\[{_QUOTE}{_NAME}{_QUOTE}\])*) )?
      | \.(?P<run>(?!json_escape\b)[A-Za-z_][\w.]*?)
    )?
    (?: \.json_escape\[(?P<escape>\d{{1,2}})\] )?
    \}}\}}
    """,
    re.VERBOSE,
)
_KEYS: Final = re.compile(rf"\[{_QUOTE}({_NAME}){_QUOTE}\]")
_STRUCTURE: Final = re.compile(r"""\s*\{\s*"(?:Concat|IfPresent)"\s*:""")


def parse(text: str) -> tuple[Segment, ...]:
    """Split ``text`` into literal text and placeholders.

    What merely looks like a placeholder stays text (as in KFP); :func:`unknown_placeholders` lists it. The parts
    joined give ``text`` again. Linear in the length of ``text``.
    """
    if _OPEN not in text:
        return (Text(text),)
    segments: list[Segment] = []
    literal = 0
    for match in _PLACEHOLDER.finditer(text):
        reference = _reference(match)
        if reference is None:
            continue
        if match.start() > literal:
            segments.append(Text(text[literal : match.start()]))
        segments.append(reference)
        literal = match.end()
    if literal < len(text) or not segments:
        segments.append(Text(text[literal:]))
    return tuple(segments)


def _reference(match: re.Match[str]) -> Reference | None:
    escape = int(match["escape"] or 0)
    run = match["run"]
    if run is not None:
        return Reference(RefKind.RUN, run, escape=escape, text=match[0]) if run in RUN_FIELDS else None
    if match["side"] is None:
        return Reference(RefKind.EXECUTOR_INPUT, escape=escape, text=match[0])
    is_input, is_parameter = match["side"] == "inputs", match["what"] == "parameters"
    field = match["field"] or ""
    keys = tuple(_KEYS.findall(match["keys"])) if match["keys"] else ()
    if is_parameter:
        if keys or field != ("" if is_input else "output_file"):
            return None
        kind = RefKind.INPUT_PARAMETER if is_input else RefKind.OUTPUT_PARAMETER
    else:
        if field not in ARTIFACT_FIELDS or (keys and field != "metadata"):
            return None
        kind = RefKind.INPUT_ARTIFACT if is_input else RefKind.OUTPUT_ARTIFACT
    return Reference(kind, match["name"], field, keys, escape, match[0])


def references(text: str) -> Iterator[Reference]:
    """The placeholders of ``text``, in order."""
    if _OPEN in text:
        for segment in parse(text):
            if isinstance(segment, Reference):
                yield segment


def whole_reference(text: str) -> Reference | None:
    """The placeholder that is all of ``text`` (its value keeps its type), or None."""
    if not text.startswith(_OPEN):
        return None
    segments = parse(text)
    return segments[0] if len(segments) == 1 and isinstance(segments[0], Reference) else None


def unknown_placeholders(text: str, limit: int = 3) -> tuple[str, ...]:
    """Parts of ``text`` that begin like a placeholder (``{{$``) but are none, shortened; at most ``limit``."""
    found: list[str] = []
    if _OPEN in text:
        for segment in parse(text):
            if isinstance(segment, Text):
                at = segment.text.find(_OPEN)
                while at >= 0 and len(found) < limit:
                    end = segment.text.find("}}", at, at + 120)
                    found.append(segment.text[at : end + 2 if end >= 0 else at + 60])
                    at = segment.text.find(_OPEN, at + 1)
    return tuple(found)


def parse_structure(text: str) -> Structure:
    """Parse one element of a command or argument list.

    Returns:
        A :class:`Template`, or a :class:`Concat` or :class:`IfPresent` where ``text`` is the JSON of one.

    Raises:
        InvalidPipeline: the text begins as a ``Concat`` or ``IfPresent`` but is not a well-formed one.
    """
    if text.lstrip()[:1] != "{" or not _STRUCTURE.match(text):
        return Template(parse(text))
    try:
        return _structure(json.loads(text), 0)
    except (ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        finding = Finding(
            "",
            f"not a well-formed Concat or IfPresent: {detail}",
            "bad-placeholder",
            'write {"Concat": [...]} or {"IfPresent": {"InputName": ..., "Then": ..., "Else": ...}}',
        )
        raise InvalidPipeline("A command or argument cannot be understood.", findings=[finding]) from None


def _structure(value: object, depth: int) -> Structure:
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, str):
        return Template(parse(value))
    if not isinstance(value, dict) or len(cast("dict[str, object]", value)) != 1:
        raise ValueError("expected a text, a Concat or an IfPresent")
    ((kind, body),) = cast("dict[str, object]", value).items()
    if kind == "Concat":
        if not isinstance(body, list):
            raise ValueError("Concat must be a list")
        return Concat(tuple(_structure(item, depth + 1) for item in cast("list[object]", body)))
    if kind != "IfPresent":
        raise ValueError(f"{kind!r} is neither Concat nor IfPresent")
    if not isinstance(body, dict):
        raise ValueError("IfPresent must be a mapping")
    fields = cast("dict[str, object]", body)
    name = fields.get("InputName")
    unknown = sorted(fields.keys() - {"InputName", "Then", "Else"})
    if not isinstance(name, str) or not name or "Then" not in fields or unknown:
        raise ValueError("IfPresent needs InputName and Then, may have Else, and nothing else")
    return IfPresent(name, _branch(fields["Then"], depth), _branch(fields.get("Else"), depth))


def _branch(value: object, depth: int) -> tuple[Structure, ...]:
    if value is None:
        return ()
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return tuple(_structure(item, depth + 1) for item in items)


def structure_references(structure: Structure) -> Iterator[Reference]:
    """Every placeholder inside ``structure``, in order."""
    stack: list[Structure] = [structure]
    while stack:
        node = stack.pop()
        if isinstance(node, Template):
            for segment in node.segments:
                if isinstance(segment, Reference):
                    yield segment
        elif isinstance(node, Concat):
            stack.extend(reversed(node.items))
        else:
            stack.extend(reversed((*node.then, *node.otherwise)))


def structure_names(structure: Structure) -> Iterator[str]:
    """The input names that the ``IfPresent`` parts of ``structure`` ask about."""
    stack: list[Structure] = [structure]
    while stack:
        node = stack.pop()
        if isinstance(node, Concat):
            stack.extend(reversed(node.items))
        elif isinstance(node, IfPresent):
            yield node.input_name
            stack.extend(reversed((*node.then, *node.otherwise)))
