"""The walk: from a function object to everything it needs, each thing one node of the text to be."""

from __future__ import annotations

import builtins
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, cast

from mlplatform.core.errors import Finding

from . import classes, functions, secrets
from .closures import Closures
from .imports import Importer, importable, own_module_name
from .keeping import Keeper
from .model import CannotCapture, Captured
from .modules import Modules
from .names import Names, normalised
from .nodes import Node
from .sheets import Found, Sheet, cells
from .unwrap import plain
from .values import expression
from .write import fingerprint, source_text

_PLAIN = (int, float, str, bytes, bool, complex, type(None), type(Ellipsis))


def capture(function: Callable[..., Any], *, project: Path | None = None) -> Captured:
    """All that ``function`` needs to run in another process, and the fingerprint of it.

    Args:
        function: a function of a cell or file, a lambda, method, closure, async function, ``functools.partial`` or any
            callable object. A component is taken as the function it was made from.
        project: folder to look for modules in besides ``sys.path``.

    Raises:
        CannotCapture: something it reaches cannot travel, is too large, or looks like a secret. All findings at once.
    """
    reach = Reach(function, project)
    return reach.captured()


class Reach:
    """State of one walk."""

    def __init__(self, function: Callable[..., Any], project: Path | None) -> None:
        self.root = plain(function)
        self.namespace: Mapping[str, Any] = functions.globals_of(self.root)
        self.own_module = own_module_name(self.namespace)
        self.modules = Modules(project)
        self.importer = Importer(self)
        self.keeper = Keeper(self)
        self.nodes: dict[str, Node] = {}
        self.parts: dict[str, str] = {}
        self.places: dict[str, str] = {}
        self.findings: list[Finding] = []
        self.errors: list[Finding] = []
        self.closures = Closures(self)
        self.future_annotations = False
        self._named: dict[int, str] = {}
        self._labels: dict[int, str] = {}
        self._keep: list[Any] = []
        self._users: list[str] = []
        self._places: list[str] = []
        self._globals = {id(v): k for k, v in reversed(list(self.namespace.items())) if k.isidentifier()}

    # -------------------------------------------------------------- the whole
    def captured(self) -> Captured:
        name = functions.root_name(self)
        self.define(name, self.root)
        self.closures.finish()
        self._check_modules()
        if self.errors:
            told = f"{name} cannot run in another process as it is:"
            raise CannotCapture(told, findings=tuple(dict.fromkeys(self.errors)))
        for module, place in sorted(self.modules.project.items()):
            self.part(f"module {module}", digest_text(place.source))
        for distribution, version in self.modules.distributions.items():
            self.parts[f"package {distribution}"] = version
        return Captured(
            name=name,
            source=source_text(self, name),
            fingerprint=fingerprint(self.parts),
            parts=dict(self.parts),
            modules={module: place.source for module, place in sorted(self.modules.project.items())},
            distributions=dict(sorted(self.modules.distributions.items())),
            values=dict(self.keeper.values),
            large=dict(self.keeper.large),
            findings=tuple(dict.fromkeys(self.findings)),
            places=dict(self.places),
        )

    # -------------------------------------------------------------- names
    @functools.cached_property
    def cells(self) -> list[Sheet]:
        return cells()

    def need(self, names: Names, namespace: Mapping[str, Any], node: Node) -> None:
        """Have everything that a text names."""
        for told in names.imports:
            self.modules.reach_import(told, str(namespace.get("__package__") or ""))
        if names.dynamic:
            self.warn("dynamic-import", "modules are imported by computed names", "import them by name as well")
        for name in names.all:
            if self.global_name(name, namespace, hint=name in names.hints):
                (node.needs if name in names.at_once else node.uses).add(name)
        self.importer.chains(names.chains, namespace)

    def global_name(self, name: str, namespace: Mapping[str, Any], hint: bool = False) -> bool:
        """Define a global; False if there is nothing to define (a builtin, or nobody has it)."""
        if name in self.nodes:
            return True
        if name in namespace:
            if name.startswith("__") and name.endswith("__") and name != "__file__":
                return False
            self.define(name, namespace[name])
            return True
        if hasattr(builtins, name):
            value = getattr(builtins, name)
            if getattr(value, "__module__", "builtins") in ("builtins", None, "_sitebuiltins", "io", "_io"):
                return False
            self.define(name, value)  # what IPython adds: display, get_ipython
            return True
        if not hint and not name.startswith("__"):
            self.warn("undefined-name", f"{name!r} is not defined", "run the cell that defines it, or import it")
        return False

    def is_builtin(self, name: str) -> bool:
        return hasattr(builtins, name)

    def fits(self, names: Iterable[str], namespace: Mapping[str, Any]) -> bool:
        """Whether names of another namespace mean the same in ours."""
        if namespace is self.namespace:
            return True
        ours = self.namespace
        return all(name not in ours or name not in namespace or ours[name] is namespace[name] for name in names)

    def fresh(self) -> str:
        """A name nobody has."""
        number = len(self.nodes)
        while f"_captured_{number}" in self.nodes or f"_captured_{number}" in self.namespace:
            number += 1
        return f"_captured_{number}"

    # -------------------------------------------------------------- objects
    def define(self, name: str, value: Any, label: str = "") -> None:
        """Make ``name`` stand for ``value`` in the generated module."""
        value = plain(value)
        known = self._named.get(id(value))
        if name in self.nodes:
            return
        node = self.nodes[name] = Node(name)
        if known is not None:
            node.text, node.rank = f"{name} = {known}\n", 2
            node.needs.add(known)
            return
        if not isinstance(value, _PLAIN):
            self._named[id(value)] = name
            self._keep.append(value)
        if name == "__file__":
            node.text, node.rank = f"__file__ = {value!r}\n", 1
        elif isinstance(value, ModuleType):
            self.importer.module(node, value)
        elif self.importer.binds(node, value):
            return
        elif isinstance(value, FunctionType):
            functions.define(self, node, value)
        elif isinstance(value, type):
            classes.define(self, node, cast("type[Any]", value))
        elif isinstance(value, MethodType):
            functions.define_method(self, node, value)
        elif functions.define_decorated(self, node, value):
            return
        elif type(value) is functools.partial and not vars(value):
            functions.define_partial(self, node, cast("functools.partial[Any]", value))
        else:
            self.keeper.value(node, value, label or f"global {name}")

    def expression_of(self, value: Any, label: str, needs: set[str]) -> str:
        """Source text that stands for a value: a literal, or the name of what is captured. The label gets a part."""
        value = plain(value)
        words = None
        if not isinstance(value, (FunctionType, type, ModuleType)):
            words = expression(value, self.collector(needs))
        if words is not None:
            self.check_secrets(label, value)
            self.part(label, self.keeper.digest(value))
            return words
        name = self.name_for(value, label)
        needs.add(name)
        return name

    def name_for(self, value: Any, label: str = "") -> str:
        """The name under which a thing is defined, defining it if need be."""
        value = plain(value)
        known = self._named.get(id(value))
        if known is not None:
            return known
        name = self._globals.get(id(value))
        if name is None or name in self.nodes:
            wanted = str(getattr(value, "__name__", "")) if isinstance(value, (FunctionType, type)) else ""
            taken = not wanted.isidentifier() or wanted in self.nodes or wanted in self.namespace
            name = self.fresh() if taken or hasattr(builtins, wanted) else wanted
        self.define(name, value, label)
        return name

    def refer(self, value: Any) -> str | None:
        """The name of what is never copied into a value: functions, classes, modules. None for anything else."""
        value = plain(value)
        if isinstance(value, type) and getattr(builtins, value.__name__, None) is value:
            return value.__name__ if value.__name__ not in self.namespace else self.name_for(value)
        if isinstance(value, (FunctionType, type, ModuleType)):
            return self.name_for(value)
        if isinstance(value, BuiltinFunctionType) and importable(value):
            return value.__name__ if value.__module__ == "builtins" else self.name_for(value)
        return None

    def collector(self, needs: set[str]) -> Callable[[Any], str | None]:
        """:meth:`refer`, noting the names."""

        def refer(value: Any) -> str | None:
            name = self.refer(value)
            if name is not None and name in self.nodes:
                needs.add(name)
            return name

        return refer

    # -------------------------------------------------------------- parts and findings
    def part(self, label: str, digest: str, place: str = "") -> str:
        """Note a part of the fingerprint; the label it got (a second of the same name is numbered)."""
        name, number = label, 1
        while name in self.parts and self.parts[name] != digest:
            number += 1
            name = f"{label} ({number})"
        self.parts[name] = digest
        if place:
            self.places[name] = place
        return name

    def code_part(self, kind: str, found: Found, value: Any, text: str) -> str:
        label = f"{kind} {getattr(value, '__qualname__', None) or getattr(found.node, 'name', 'lambda')}"
        label = self.part(label.replace("<locals>.", ""), digest_text(text), found.place)
        self._labels[id(value)] = label
        return label

    def label_of(self, value: Any) -> str:
        return self._labels.get(id(value), "")

    def set_label(self, value: Any, label: str) -> None:
        self._labels[id(value)] = label

    def kind_of(self, node: Node) -> str:
        return "function" if self.nodes and node is next(iter(self.nodes.values())) else "helper"

    @contextmanager
    def user(self, name: str, place: str) -> Any:
        """Whose needs are being looked at, for messages."""
        self._users.append(name)
        self._places.append(place)
        try:
            yield
        finally:
            self._users.pop()
            self._places.pop()

    def check_secrets(self, label: str, value: Any) -> None:
        for told in secrets.in_value(label.rpartition(" ")[2] if label.startswith("global ") else label, value):
            self.error("secret", told, secrets.ADVICE)

    def _check_modules(self) -> None:
        for place in self.modules.project.values():
            for line, told in secrets.in_module(place.source):
                where = f"{os.path.basename(place.path)}:{line}"
                self.errors.append(Finding(where, told, "secret", secrets.ADVICE))
        for name, path in sorted(self.modules.sourceless.items()):
            told = f"module {name!r} ({path}) has no Python source that could travel"
            self.errors.append(Finding("", told, "cannot-travel", "install it as a package where the task runs"))

    def check_text(self, text: str) -> None:
        for told in secrets.in_text(text):
            self.error("secret", told, secrets.ADVICE)

    def error(self, code: str, message: str, hint: str) -> None:
        self.errors.append(Finding(self._path(), message, code, hint))

    def warn(self, code: str, message: str, hint: str) -> None:
        self.findings.append(Finding(self._path(), message, code, hint))

    def _path(self) -> str:
        if not self._users:
            return ""
        return f"{self._users[-1]} ({self._places[-1]})" if self._places[-1] else self._users[-1]


def digest_text(text: str) -> str:
    try:
        words = normalised(text)
    except (SyntaxError, ValueError, RecursionError):
        words = text
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()
