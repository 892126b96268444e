"""The only door to ``kfp``: what its objects are, and the documents its compiler makes of them.

kfp is never imported to look at something: an object of kfp's exists only where somebody imported kfp already.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlplatform.core.errors import InvalidInput


def pipeline_function(value: object) -> Callable[..., Any] | None:
    """The function that one of kfp's pipelines was made of; None of anything else."""
    if not _is_a(value, "kfp.dsl.graph_component", "GraphComponent"):
        return None
    found: Any = value
    return found.pipeline_func


def is_component(value: object) -> bool:
    """Whether this is one of kfp's components (its pipelines are, too)."""
    return _is_a(value, "kfp.dsl.base_component", "BaseComponent")


def _is_a(value: object, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def compile_object(component: Any) -> str:
    """The document that kfp's compiler makes of a component or pipeline object of kfp's own. Raises what kfp does."""
    compiler: Any = importlib.import_module("kfp.compiler")  # its maker has imported kfp already
    with tempfile.TemporaryDirectory(prefix="mlplatform-kfp-") as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(component, str(path))
        return path.read_text(encoding="utf-8")


def document_of(component: Any) -> str:
    """The same, for a component that is used in a pipeline of ours.

    Raises:
        InvalidInput: it cannot be compiled; kfp's own words.
    """
    try:
        return compile_object(component)
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError) as error:
        raise InvalidInput(f"kfp cannot compile {component!r}: {error}") from error
