"""What a cached result depends on, as named parts.

The key of a task is the digest of its parts. Parts are kept beside a cached result so that ``why`` can name the first
one that differs, in the order of :data:`PART_ORDER` (the most telling first). What a task looked at outside its scratch
folder (files, environment variables) cannot be in the key, because it is known only afterwards: it is the entry's
*trace*, compared when a candidate with the same key was found.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mlplatform.core.model import Artifact, ArtifactValue, Values
from mlplatform.core.parts import explain_parts
from mlplatform.core.values import JsonValue, child, digest_json, preview
from mlplatform.ir.model import ContainerExecutor
from mlplatform.planning.python_component import PythonComponent
from mlplatform.planning.sdk_component import describe

PART_ORDER: Final = (
    "code",
    "parameters",
    "artifacts",
    "python",
    "packages",
    "image",
    "environment",
    "secrets",
    "outputs",
    "user_key",
    "format",
)

#: Raised when the meaning of parts changes: entries of an older format never match.
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Uncacheable:
    """Why a result of this task may not be reused."""

    reason: str


@lru_cache(maxsize=2048)
def normalised_source(source: str) -> str:
    """Python source without comments, formatting and docstrings, so that none of them causes a rerun.

    Source that this interpreter cannot parse (older or newer syntax) is returned as it is. Docstrings stay where the
    source mentions ``__doc__``.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return source
    if "__doc__" not in source:
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
                _drop_docstring(node)
    return ast.dump(tree, include_attributes=False)


def _drop_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) -> None:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        node.body = node.body[1:] or [ast.Pass()]


def python_code(executor: ContainerExecutor, python: PythonComponent, kfp: str) -> dict[str, JsonValue]:
    """What a Python component is made of. ``kfp``: version of the runtime it gets, "" for none."""
    code: dict[str, JsonValue] = {"function": python.function, "kfp": kfp, "env": dict(executor.env)}
    sdk = describe(python.source)
    if sdk is None:
        return code | {"source": normalised_source(python.source)}
    code |= {"adapter": sdk.adapter, "spec": sdk.spec}
    code["parts"] = dict(sdk.parts)
    code["reads"] = list(sdk.reads)
    return code


def command_code(executor: ContainerExecutor) -> dict[str, JsonValue]:
    """What a command is made of: the template, not what it became: that names folders of one attempt, and the values
    are in the key already."""
    return {"command": list(executor.command), "args": list(executor.args), "env": dict(executor.env)}


def artifact_part(value: ArtifactValue) -> JsonValue | Uncacheable:
    """An input artifact by content, type and metadata; never by where it lies."""
    if isinstance(value, Artifact):
        if not value.digest:
            return Uncacheable(f"the content of artifact {value.uri} is not known")
        return {"digest": value.digest, "type": value.type, "metadata": dict(value.metadata)}
    parts: list[JsonValue] = []
    for item in value:
        part = artifact_part(item)
        if isinstance(part, Uncacheable):
            return part
        parts.append(part)
    return parts


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one task's key."""

    values: Mapping[str, JsonValue]

    @property
    def key(self) -> str:
        return digest_json(dict(self.values))


def make_parts(
    *,
    code: JsonValue,
    inputs: Values,
    outputs: JsonValue,
    python: str = "",
    packages: str = "",
    image: str = "",
    environment: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    user_key: str = "",
) -> Parts | Uncacheable:
    """Parts of a task's key.

    Args:
        code: component implementation: normalised source and function, or command, arguments.
        inputs: resolved inputs; every artifact must have a content digest.
        outputs: names and types of what it writes.
        python: version of the interpreter; packages: digest of what is installed in it.
        image: image digest of a container.
        environment: variables the component itself sets.
        secrets: names (never values) of the secrets it gets.
        user_key: KFP's ``cachingOptions.cacheKey``.
    """
    artifacts: dict[str, JsonValue] = {}
    for name, value in inputs.artifacts.items():
        part = artifact_part(value)
        if isinstance(part, Uncacheable):
            return part
        artifacts[name] = part
    return Parts(
        {
            "format": FORMAT,
            "code": code,
            "parameters": dict(inputs.parameters),
            "artifacts": artifacts,
            "outputs": outputs,
            "python": python,
            "packages": packages,
            "image": image,
            "environment": dict(environment or {}),
            "secrets": sorted(secrets),
            "user_key": user_key,
        }
    )


def explain(old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]) -> str:
    """The first part that differs, in words; empty if none does."""
    for name in PART_ORDER:
        before, after = old.get(name), new.get(name)
        if before != after:
            return _explain_part(name, before, after)
    return ""


def distance(old: JsonValue | Mapping[str, JsonValue], new: JsonValue | Mapping[str, JsonValue]) -> int:
    """In how many places two tasks' parts differ.

    >>> distance({"code": {"parts": {"a": "1", "b": "2"}}}, {"code": {"parts": {"a": "1", "b": "3", "c": "4"}}})
    2
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return sum(distance(old.get(name), new.get(name)) for name in {*old, *new})
    return int(old != new)


def _explain_part(name: str, before: JsonValue, after: JsonValue) -> str:
    match name:
        case "code":
            return _explain_code(before, after)
        case "python":
            return f"the Python version changed: {before} -> {after}"
        case "packages":
            return "the installed packages changed"
        case "image":
            return "the container image changed"
        case "format":
            return "the cached result is of an older format"
        case "user_key":
            return f"the cache key set on the task changed: {preview(before)} -> {preview(after)}"
        case "outputs":
            return "the declared outputs changed"
        case "secrets":
            return "other secrets are used"
        case _:
            pass
    singular = {"parameters": "parameter", "artifacts": "artifact", "environment": "environment variable"}[name]
    old = before if isinstance(before, dict) else {}
    new = after if isinstance(after, dict) else {}
    for key in sorted({*old, *new}):
        if key not in old:
            return f"{singular} {key!r} is new"
        if key not in new:
            return f"{singular} {key!r} is gone"
        if old[key] != new[key]:
            if name == "artifacts":
                return f"the content of artifact {key!r} changed"
            return f"{singular} {key!r} changed: {preview(old[key])} -> {preview(new[key])}"
    return f"{name} changed"


def _explain_code(before: JsonValue, after: JsonValue) -> str:
    """Components of the SDK know their parts; of others only that something changed."""
    if isinstance(before, dict) and isinstance(after, dict):
        told = explain_parts(child(before, "parts"), child(after, "parts"))
        if told:
            return told
        if before.get("folder") != after.get("folder"):
            return f"it runs in another folder: {preview(before.get('folder'))} -> {preview(after.get('folder'))}"
    return "the component's code changed"
