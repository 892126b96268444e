"""Values of one walk: literal text, pickles, and what is too large for either."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, cast

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]

from .content import content_digest
from .model import LARGE, LIMIT
from .nodes import Node
from .unwrap import plain
from .values import TooLarge, advice, culprit, estimated_size, expression, pickled, type_name

if TYPE_CHECKING:
    from .reach import Reach


class Keeper:
    """Gives nodes their values."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self.values: dict[str, bytes] = {}
        self.large: dict[str, Any] = {}
        self._whole: frozenset[int] = frozenset()

    def digest(self, value: Any) -> str:
        return content_digest(value, self.namer)

    def value(self, node: Node, value: Any, label: str) -> None:
        """A value that is neither code nor a module: literal text, a pickle, or too large for either."""
        node.rank = 1
        self._reach.check_secrets(label, value)
        words = expression(value, self._reach.collector(node.needs))
        if words is not None:
            node.text = f"{node.name} = {words}\n"
            self._reach.part(label, self.digest(value))
            return
        if estimated_size(value) > LARGE:
            self._large(node, value, label, estimated_size(value))
            return
        data = self._pickle(node, value, label)
        if data is None:
            return
        self._reach.part(label, self.digest(value))
        if len(data) > LARGE:
            self._large(node, value, label, len(data))
            return
        self.values[node.name] = data
        if b"cloudpickle" in data:
            self._reach.modules.reach("cloudpickle")

    def bytecode(self, node: Node, value: Any, label: str) -> None:
        """A function or class without text."""
        node.rank = 1
        with self._copied(value):
            data = self._pickle(node, value, label)
            if data is not None:
                self.values[node.name] = data
                self._reach.part(label, self.digest(value))
                self._reach.modules.reach("cloudpickle")

    def _large(self, node: Node, value: Any, label: str, size: int) -> None:
        if size > LIMIT:
            self._refuse_size(label, size)
            return
        self._reach.importer.note(cast("type[Any]", type(value)))
        self._reach.part(label, self.digest(value))
        self.large[node.name] = value

    def _pickle(self, node: Node, value: Any, label: str) -> bytes | None:
        refer = self._refer_in_pickle(node.needs)
        try:
            with _by_value(self._reach.own_module):
                data = pickled(value, refer)
        except TooLarge:
            self._refuse_size(label, None)
            return None
        if isinstance(data, bytes):
            return data
        self._refuse(label, value, data)
        return None

    def _refuse(self, label: str, value: Any, problem: Exception) -> None:
        variable = label.partition(" ")[2] if label.startswith("global ") else label
        name, part = culprit(variable, value, self._refer_in_pickle(set()))
        kind = type_name(part)
        why = f"it is a {kind}" if name == variable else f"{name} is a {kind}"
        self._reach.error(
            "cannot-travel", f"{variable!r} cannot travel to another process: {why} ({problem})", advice(kind)
        )

    def _refuse_size(self, label: str, size: int | None) -> None:
        variable = label.partition(" ")[2] if label.startswith("global ") else label
        told = f"{size / 1000**3:.1f} GB" if size else "more than 1 GB"
        hint = "write it to a file or artifact in a task of its own, and pass that"
        self._reach.error("too-large", f"{variable!r} is {told}; at most 1 GB can travel with a function", hint)

    @contextmanager
    def _copied(self, value: Any) -> Any:
        """While a function or class without text is pickled, it is copied, not named."""
        before = self._whole
        self._whole = before | {id(value)}
        try:
            yield
        finally:
            self._whole = before

    def _refer_in_pickle(self, needs: set[str]) -> Callable[[Any], str | None]:
        """As :meth:`refer`, but importable things stay what pickle makes of them; where they come from is noted."""

        def refer(value: Any) -> str | None:
            value = plain(value)
            if not isinstance(value, (FunctionType, type, ModuleType, BuiltinFunctionType)):
                return None
            if isinstance(value, ModuleType):
                return None if self._reach.importer.note_module(value) else self._reach.name_for(value)
            if id(value) in self._whole or self._reach.importer.note(value) or isinstance(value, BuiltinFunctionType):
                return None
            name = self._reach.name_for(value)
            needs.add(name)
            return name

        return refer

    def namer(self, value: Any) -> str | None:
        """Stable names for the digest of a value."""
        value = plain(value)
        if isinstance(value, ModuleType):
            return f"module {value.__name__}"
        if isinstance(value, (FunctionType, type, BuiltinFunctionType)):
            if id(value) in self._whole:
                return None
            return self._reach.label_of(value) or f"{value.__module__}.{value.__qualname__}"
        return None


@contextmanager
def _by_value(module: str) -> Any:
    """cloudpickle copies what is defined in the module that the function itself is taken out of."""
    loaded = sys.modules.get(module)
    if loaded is None or module == "__main__" or module in cloudpickle.list_registry_pickle_by_value():
        yield
        return
    cloudpickle.register_pickle_by_value(loaded)  # pyright: ignore[reportUnknownMemberType]
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(loaded)  # pyright: ignore[reportUnknownMemberType]
