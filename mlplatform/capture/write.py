"""The generated module: what loads it, then everything in an order in which it can be executed."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from .nodes import ordered
from .sheets import sheet

if TYPE_CHECKING:
    from .reach import Reach

#: Module texts longer than this (characters, all together) are packed.
_READABLE: Final = 32_000

_MODULES: Final = '''
def _project_modules(table):
    import importlib.abc, importlib.machinery, importlib.util, os, sys

    class ProjectModules(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
        """Modules of the project, as they were when the function was captured."""

        def find_spec(self, name, path=None, target=None):
            if name not in table:
                return None
            source, place, is_package, folders = table[name]
            if not source and is_package and not place.endswith(".py"):
                spec = importlib.machinery.ModuleSpec(name, self, origin=place, is_package=True)
            else:
                spec = importlib.util.spec_from_loader(name, self, origin=place, is_package=is_package)
                spec.has_location = True
            if is_package:
                spec.submodule_search_locations = list(folders)
            return spec

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            name = module.__name__
            code = compile(table[name][0], table[name][1], "exec", dont_inherit=True)
            exec(code, module.__dict__)

        def get_source(self, name):
            return table[name][0]

        def is_package(self, name):
            return table[name][2]

    if not any(getattr(finder, "_captured_table", None) == table for finder in sys.meta_path):
        finder = ProjectModules()
        finder._captured_table = table
        sys.meta_path.insert(0, finder)
'''

_LOAD: Final = """
def _load(text):
    import base64, io, pickle, zlib

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, name):
            return globals()[name]

    return Unpickler(io.BytesIO(zlib.decompress(base64.b64decode(text)))).load()
"""

_CELLS: Final = """
from types import CellType as _Cell


def _with_cells(function, cells):
    from types import FunctionType

    free = function.__code__.co_freevars
    closure = tuple(cells.get(name, cell) for name, cell in zip(free, function.__closure__ or ()))
    made = FunctionType(function.__code__, globals(), function.__name__, function.__defaults__, closure)
    made.__kwdefaults__, made.__qualname__ = function.__kwdefaults__, function.__qualname__
    made.__annotations__, made.__doc__ = function.__annotations__, function.__doc__
    return made
"""


def source_text(reach: Reach, name: str) -> str:
    """Text whose execution in a fresh namespace defines ``name``."""
    pieces = ["from __future__ import annotations\n"] if reach.future_annotations else []
    package = str(reach.namespace.get("__package__") or "")
    if package in reach.modules.project:
        pieces.append(f"__package__ = {package!r}\n")
    pieces += _modules(reach)
    if reach.keeper.values:
        pieces.append(_LOAD)
    if reach.closures.binds:
        pieces.append(_CELLS)
    nodes = ordered(reach.nodes, name)
    pieces.append("\n" if pieces else "")
    pieces += [node.text for node in nodes if node.rank == 0]
    pieces += _submodules(reach)
    marked = False
    for node in nodes:
        text = node.text
        if node.name in reach.keeper.values:
            text = f"{node.name} = _load({_packed(reach.keeper.values[node.name])!r})\n"
        if node.rank == 0 or not text:
            continue
        if node.file:
            pieces.append(f"\n# line {max(node.line, 1)} {json.dumps(_shown(node.file))}\n")
        elif marked:
            pieces.append("# line 0\n")
        marked = bool(node.file)
        pieces.append(text)
    late = [node.late for node in nodes]
    tail = "".join(late)
    return "".join(pieces) + (f"\n# line 0\n{tail}" if tail else "")


def _shown(file: str) -> str:
    """Cells by their number, as IPython's own tracebacks have them."""
    where = sheet(file)
    return where.label.replace("cell ", "Cell In[") + "]" if where and where.label.startswith("cell ") else file


def _submodules(reach: Reach) -> list[str]:
    """Submodules that were imported somewhere and are reached as attributes."""
    found: list[str] = []
    for module in sorted(reach.importer.extra):
        top = reach.nodes.get(module.partition(".")[0])
        plain = top is not None and top.text == f"import {top.name}\n"
        found.append(f"import {module}\n" if plain else f"__import__({module!r})\n")
    return found


def _modules(reach: Reach) -> list[str]:
    if not reach.modules.project:
        return []
    table = {
        name: (place.source, place.path, place.is_package, list(place.submodule_paths))
        for name, place in sorted(reach.modules.project.items())
    }
    if sum(len(entry[0]) for entry in table.values()) > _READABLE:
        text = json.dumps(table, separators=(",", ":"))
        packed = _packed(text.encode("utf-8", "surrogatepass"))
        given = f"__import__('json').loads(__import__('zlib').decompress(__import__('base64').b64decode({packed!r})))"
        return [_MODULES, f"\n_project_modules({given})\n"]
    rows = "".join(f"    {name!r}: {entry!r},\n" for name, entry in table.items())
    return [_MODULES, "\n_project_modules({\n" + rows + "})\n"]


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 6)).decode("ascii")


def fingerprint(parts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()
