"""Server-side apply and managed fields, reduced to what the platform uses.

Maps merge by key; lists are atomic, but for those that the API says merge: by ``name`` (containers, volumes, env ...),
by ``uid`` (owner references), sets of strings (finalizers). A manager owns the leaves that it applied; what it no
longer applies and nobody else owns goes away.
"""

from __future__ import annotations

import copy
from typing import Any

Path = tuple[str, ...]

#: Lists of maps that merge, by the name of their field, and the key by which they do.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ownerReferences": "uid",
    "imagePullSecrets": "name",
}
SETS = {"finalizers"}


def leaves(value: Any, path: Path = ()) -> set[Path]:
    """The paths of everything that has a value of its own."""
    if isinstance(value, dict):
        if not value:
            return {path}
        return {leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))}
    if isinstance(value, list) and path and path[-1] in SETS:
        return {(*path, f"={item}") for item in value}
    if isinstance(value, list) and path and (key := MERGE_KEYS.get(path[-1])):
        found = {leaf for item in value for leaf in leaves(item, (*path, f"{key}={item.get(key)}"))}
        return found | {(*path, f"{key}={item.get(key)}") for item in value}
    return {path}


def value_at(value: Any, path: Path) -> Any:
    """What is there; raises KeyError."""
    for part in path:
        if isinstance(value, list):
            key, _, wanted = part.partition("=")
            if key == "":
                if wanted not in value:
                    raise KeyError(part)
                value = wanted
            else:
                value = next((item for item in value if str(item.get(key)) == wanted), None)
                if value is None:
                    raise KeyError(part)
        else:
            value = value[part]
    return value


def remove_at(value: Any, path: Path) -> None:
    *way, last = path
    try:
        holder = value_at(value, tuple(way))
        found = value_at(holder, (last,))
    except (KeyError, TypeError):
        return
    if isinstance(holder, list):
        holder.remove(found)
    else:
        del holder[last]
    if not holder and way:
        remove_at(value, tuple(way))


def merge(live: Any, wanted: Any, path: Path = ()) -> Any:
    if isinstance(wanted, dict) and isinstance(live, dict):
        merged = dict(live)
        for key, value in wanted.items():
            merged[key] = merge(live.get(key), value, (*path, key))
        return merged
    if isinstance(wanted, list) and isinstance(live, list) and path:
        if path[-1] in SETS:
            return live + [item for item in wanted if item not in live]
        if key := MERGE_KEYS.get(path[-1]):
            merged_list = [dict(item) for item in live]
            for item in wanted:
                place = next((n for n, old in enumerate(merged_list) if old.get(key) == item.get(key)), None)
                if place is None:
                    merged_list.append(item)
                else:
                    merged_list[place] = merge(merged_list[place], item, (*path, f"{key}={item.get(key)}"))
            return merged_list
    return copy.deepcopy(wanted)


class Ownership:
    """Who owns which leaves of one object: (manager, operation, subresource) -> paths."""

    def __init__(self) -> None:
        self.owned: dict[tuple[str, str, str], set[Path]] = {}

    def apply(
        self, manager: str, subresource: str, live: dict[str, Any], wanted: dict[str, Any], force: bool
    ) -> tuple[dict[str, Any], list[str]]:
        """The merged object, and the conflicts (with ``force`` there are none)."""
        me = (manager, "Apply", subresource)
        mine = leaves(wanted)
        conflicts: list[str] = []
        for other, paths in self.owned.items():
            if other == me:
                continue
            for path in mine & paths:
                try:
                    same = value_at(live, path) == value_at(wanted, path)
                except KeyError:
                    same = False
                if not same:
                    conflicts.append(f'conflict with "{other[0]}": .{".".join(path)}')
                    if force:
                        paths.discard(path)
        if conflicts and not force:
            return live, conflicts
        merged = merge(live, wanted)
        others = set().union(*(paths for other, paths in self.owned.items() if other != me))
        for path in sorted(self.owned.get(me, set()) - mine - others, key=len, reverse=True):
            remove_at(merged, path)
        self.owned[me] = mine
        return merged, []

    def update(self, manager: str, subresource: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Changed and new leaves belong to the one who wrote them; removed ones to nobody."""
        has = leaves(after)
        had = leaves(before)
        changed = {path for path in has if path not in had or value_at(before, path) != value_at(after, path)}
        if not changed and had <= has:
            return
        me = (manager, "Update", subresource)
        for other in list(self.owned):
            self.owned[other] &= has
            if other != me:
                self.owned[other] -= changed
            if not self.owned[other]:
                del self.owned[other]
        if changed:
            self.owned.setdefault(me, set()).update(changed)
