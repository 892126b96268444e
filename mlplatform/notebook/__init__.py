"""Notebooks as pipelines: cells, data flow, tasks, the IR; executed notebooks back out."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """This package can be called: ``mlplatform.notebook("train.ipynb")`` is what users write, and Python gives them the
    package under that name as soon as anything in it has been imported."""

    def __call__(self, path: Any, **options: Any) -> Any:
        # By its name: a room never imports one above it.
        return import_module("mlplatform.sdk.notebook").notebook(path, **options)


sys.modules[__name__].__class__ = _Room
