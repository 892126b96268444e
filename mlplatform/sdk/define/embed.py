"""The source text of a component: the captured function, and between it and KFP's files the adapter."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import ast
import builtins
import inspect
import json
import os
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mlplatform.capture import Captured, capture
from mlplatform.core.errors import InvalidPipeline
from mlplatform.sdk.define.commands import HEADER
from mlplatform.sdk.define.tasks import InputSpec
from mlplatform.sdk.define.types import ANY_ARTIFACT, is_artifact_class
from mlplatform.sdk.travel import bundle

#: What a component with an adapter calls its function.
FUNCTION = "mlplatform_task"
_TYPING: frozenset[str] = frozenset(vars(typing)["__all__"])


class Captures:
    """Captures of one compilation: each function once. ``portable``: for a document that leaves this machine, in which
    files are named as seen from the working folder."""

    def __init__(self, *, portable: bool = False) -> None:
        self.portable = portable
        self._found: dict[int, tuple[Any, Captured]] = {}

    def of(self, function: Callable[..., Any]) -> Captured:
        """Raises CannotCapture."""
        known = self._found.get(id(function))
        if known is None or known[0] is not function:
            found = capture(function)
            known = (function, replace(found, source=_portable(found.source)) if self.portable else found)
            self._found[id(function)] = known
        return known[1]


def folders_of(captured: Captured) -> list[str]:
    """Where the project's modules lie: files beside them may be read."""
    files = [getattr(sys.modules.get(name), "__file__", None) for name in captured.modules]
    return sorted({os.path.dirname(os.path.abspath(file)) for file in files if isinstance(file, str)})


def _portable(source: str) -> str:
    """Without paths of this machine in the comments that say where definitions were written."""

    def shown(match: re.Match[str]) -> str:
        file = str(json.loads(match[2]))
        if not os.path.isabs(file):
            return match[0]
        near = os.path.relpath(file)
        return f"{match[1]}{json.dumps(os.path.basename(file) if near.startswith('..') else near)}"

    return re.sub(r'(?m)^(# line \d+ )(".*")$', shown, source)


class NoCaptures(Captures):
    """For checking a pipeline before the functions it runs are complete."""

    def of(self, function: Callable[..., Any]) -> Captured:
        name = getattr(function, "__name__", "function")
        return Captured(name, "", "", {}, {}, {}, {})


def captured_input() -> InputSpec:
    """The input that brings a large value a function reaches."""
    return InputSpec(ANY_ARTIFACT)


def with_adapter(captured: Captured, spec: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Source whose function :data:`FUNCTION` is the captured one as a task.

    Args:
        spec: how arguments and outputs hang together (see ``travel.task``).
        about: what the platform wants to know without running it (see ``planning.sdk_component``): the first line.
    """
    first = f"# mlplatform: {json.dumps(dict(about), sort_keys=True)}\n"
    text = json.dumps(dict(spec), sort_keys=True)
    body = captured.source.strip("\n")
    future = "from __future__ import annotations\n" if body.startswith("from __future__ import annotations") else ""
    header = HEADER.strip("\n") + "\n\n" if about.get("kfp") else ""
    if captured.large:
        bound = f"bind_late({captured.name!r}, {body + chr(10)!r}, globals(), {text!r})"
        return f"{first}{header}# line 0{bundle.loader()}\n{FUNCTION} = _mlplatform_adapter().{bound}\n"
    body = _for_tasks(body.removeprefix(future.rstrip("\n")))
    end = f"{FUNCTION} = _mlplatform_adapter().bind({captured.name}, {text!r})\n"
    return f"{first}{future}{header}{body}\n\n# line 0{bundle.loader()}\n{end}"


def _for_tasks(source: str) -> str:
    """Our words for pipelines are kfp's where kfp's runtime runs the task."""
    source = re.sub(r"(?m)^from mlplatform import dsl\b", "from kfp import dsl", source)
    source = re.sub(r"(?m)^import mlplatform\.dsl as ", "import kfp.dsl as ", source)
    return re.sub(r"(?m)^from mlplatform\.(?:dsl|sdk\.define\.types) import ", "from kfp.dsl import ", source)


def plain(function: Callable[..., Any], captures: Captures) -> str:
    """Source of a component in kfp's own style: its function alone where it needs nothing else, as kfp has it."""
    text = _own_text(function)
    if text is not None and _stands_alone(text, function):
        return f"{HEADER}{text}\n"
    captured = captures.of(function)
    source = _for_tasks(captured.source.rstrip())
    if captured.large:
        names = ", ".join(captured.large)
        raise InvalidPipeline(
            f"{function.__name__} reaches values of more than 10 MB: {names}.",
            hint="Pass them as input artifacts, or use @ml.component, which stores them for you.",
        )
    return f"{HEADER}{source}\n\n"


def _own_text(function: Callable[..., Any]) -> str | None:
    """The function's text from its ``def`` on; None where there is none."""
    try:
        lines = textwrap.dedent(inspect.getsource(function)).splitlines(keepends=True)
    except (OSError, TypeError):
        return None
    for number, line in enumerate(lines):
        if line.startswith(("def ", "async def ")):
            return "".join(lines[number:])
    return None


def _stands_alone(text: str, function: Callable[..., Any]) -> bool:
    """Whether every global name of the function is one that kfp's header brings (or Python itself)."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    code = getattr(function, "__code__", None)
    if code is None or code.co_freevars:
        return False
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    local = set(code.co_varnames) | set(code.co_cellvars)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            local.add(node.name)
        elif isinstance(node, ast.arg):
            local.add(node.arg)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            local.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            local.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            local.add(node.name)
    scope = function.__globals__
    for name in names - local:
        if name in scope:
            if not _in_header(name, scope[name]):
                return False
        elif not hasattr(builtins, name) and name not in _TYPING:
            return False
    return True


def _in_header(name: str, value: Any) -> bool:
    """Whether ``from kfp.dsl import *`` and ``from typing import *`` bring the same under this name."""
    if name in _TYPING and getattr(typing, name) is value:
        return True
    if name == "dsl" and getattr(value, "__name__", "") in ("mlplatform.dsl", "kfp.dsl"):
        return True
    if name == "kfp" and getattr(value, "__name__", "") == "kfp":
        return True
    if name in ("Input", "Output"):
        return hasattr(value, "__metadata__")
    if name in ("InputPath", "OutputPath", "PipelineTaskFinalStatus", "TaskConfig"):
        return getattr(value, "__name__", "") == name
    if name.startswith("PIPELINE_") or name == "WORKSPACE_PATH_PLACEHOLDER":
        return isinstance(value, str)
    return is_artifact_class(value) and value.__name__ == name and str(value.schema_title).startswith("system.")
