# pyright: basic
"""The state of a notebook between two tasks: what each name holds, which names belong together, and where it is kept.

Every name (and every item of hidden state) has a *content*, the digest of all it reaches, and belongs to a *group*:
names that share an object which can be changed are kept and restored together, so that an alias stays one. A group is
an immutable snapshot; names that are left alone keep their group.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any, Optional

from . import parts, veil
from .codenames import identifiers
from .comparing import Seen, look, shared_roots
from .flow import Flow, is_history
from .guard import tried_apart
from .hidden import ASKING, STREAMS, Hidden, is_setting
from .keeping import keep, load
from .pickling import reason_of
from .roundtrip import LARGEST, failures, needs_check

#: Names that are this large are not looked at again when no task could have touched them (bytes).
_LARGE = 8 * 2**20
#: How items are called that hold the data of a module; words that import one whose name is not in the text.
_MODULE = "@module:"
_IMPORTING = frozenset(("import_module", "__import__", "reload", "modules", "run_path", "run_module"))
#: The shell's own names.
_SHELL = frozenset(("In", "Out", "get_ipython", "exit", "quit", "open", "_ih", "_oh", "_dh", "_i", "_ii", "_iii"))


class Entry:
    """What is known of one name: content, group, which object it is. Nothing of the notebook is kept alive by it."""

    __slots__ = ("content", "group", "identity", "item", "seen", "texts")

    def __init__(self, content: str, group: str, name: str, value: Any, seen: Seen) -> None:
        self.content = content
        self.group = group
        self.identity = 0 if name.startswith("@") else id(value)
        self.item = value if name.startswith("@") else None
        self.seen = seen
        self.texts = _names_in_texts(value)

    def told(self) -> list[str]:
        return [self.content, self.group]


class Checkpoints:
    """Follows one namespace. ``library``: where groups are kept. ``token``: makes what cannot be compared unique."""

    def __init__(self, namespace: dict[str, Any], hidden: Hidden, library: str, token: str) -> None:
        self._namespace = namespace
        self._hidden = hidden
        self._library = library
        self._token = token
        self._count = 0
        self.entries: dict[str, Entry] = {}
        self.groups: dict[str, dict[str, Any]] = {}
        self.history = False
        #: What is to be said of the last task's variables.
        self.notes: list[str] = []
        self._checked: set[str] = set()
        self._digests = parts.Digests()

    # ------------------------------------------------------------------ after a task
    def after(self, flow: Flow, loop: Any) -> dict[str, Any]:
        """Compare with the state before the task; returns ``reads``, ``held``, ``writes``, ``deleted``, ``settings``,
        ``groups``, ``blocks``, ``whole`` and ``values`` of its record."""
        before = self.entries
        self.notes = []
        self._digests.forget()  # a cell ran
        self._hidden.note_patches(frozenset(flow.patches))
        values = self._values(frozenset(flow.words))
        touched, whole = self._touched(flow, before)
        seen = self._look(values, before, touched, whole)
        after, fresh = self._regroup(values, seen, before)
        self.entries = after
        reads, surprised = self._reads(flow, before, after, touched)
        if whole or self._reaches_modules(flow, touched, before, after):
            reads |= {name for name in before if name.startswith(_MODULE)}
        writes = {n: e.told() for n, e in after.items() if n not in before or before[n].told() != e.told()}
        told = {
            "reads": {name: before[name].told() if name in before else None for name in sorted(reads)},
            "whole": sorted(before) if whole or surprised else None,
            "settings": {name: entry.content for name, entry in before.items() if is_setting(name)},
            "writes": writes,
            "deleted": sorted(name for name in before if name not in after),
            "groups": {group: self.groups[group] for group in {entry.group for entry in after.values()}},
            "blocks": self._hidden.blocks(loop),
            "surprised": sorted(surprised),
            "values": self._single_values(fresh, after, values),
        }
        if whole or surprised:
            told["reads"].update({name: entry.told() for name, entry in before.items()})
        told["held"] = _members(before, told["reads"])
        return told

    def _reaches_modules(
        self, flow: Flow, touched: set[str], before: Mapping[str, Entry], after: Mapping[str, Entry]
    ) -> bool:
        """Whether a task could look at the data of modules that are the notebook's own."""
        own = {name[len(_MODULE) :] for name in (*before, *after) if name.startswith(_MODULE)}
        if not own:
            return False
        words = {word for name in own for word in (name, *name.split("."))}
        if flow.words & (words | _IMPORTING):
            return True
        entries = (known.get(name) for known in (before, after) for name in touched)
        return any(entry is not None and not entry.seen.modules.isdisjoint(words) for entry in entries)

    def _values(self, words: frozenset[str]) -> dict[str, Any]:
        values = {name: value for name, value in self._namespace.items() if self._is_own(name, value)}
        values.update(self._hidden.read(words))
        return values

    def _is_own(self, name: str, value: Any) -> bool:
        if name == "__annotations__":
            return bool(value)
        if is_history(name):
            return self.history and name not in _SHELL
        return name not in _SHELL and not (name.startswith("__") and name.endswith("__"))

    def _touched(self, flow: Flow, before: Mapping[str, Entry]) -> tuple[set[str], bool]:
        """Names that the task could reach: those it mentions, and what functions behind them look up."""
        whole = flow.whole
        found: set[str] = set()
        waiting = [*flow.reads, *(name for name in before if name.startswith("@patch:"))]
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.add(name)
            entry = before.get(name)
            if entry is None:
                continue
            whole = whole or entry.seen.whole
            waiting += entry.seen.names
            waiting += entry.texts
        return found, whole

    def _look(
        self, values: Mapping[str, Any], before: Mapping[str, Entry], touched: set[str], whole: bool
    ) -> dict[str, Seen]:
        found: dict[str, Seen] = {}
        for name, value in values.items():
            old = before.get(name)
            if old is None or old.identity != id(value) or whole or name in touched:
                found[name] = look(value, self._namespace, known=self._digests)
            elif old.seen.size >= _LARGE or not old.seen.digest:
                found[name] = old.seen
            else:
                found[name] = look(value, self._namespace, known=self._digests)
        return found

    # ------------------------------------------------------------------ groups
    def _regroup(
        self, values: Mapping[str, Any], seen: Mapping[str, Seen], before: Mapping[str, Entry]
    ) -> tuple[dict[str, Entry], list[str]]:
        after: dict[str, Entry] = {}
        found: dict[str, list[str]] = {}
        fresh: list[str] = []
        for names in _components(seen):
            group = self._same_group(names, values, seen, before)
            if group is None:
                group = self._new_group(names, values, seen, before)
                fresh.append(group)
            found[group] = names
        for group, why in self._not_coming_back({group: found[group] for group in fresh}, values, seen).items():
            names = found.pop(group)
            fresh.remove(group)
            with open(group_path(self._library, group) + ".bad", "w", encoding="utf-8", errors="replace") as file:
                file.write(why)
            group = self._unkept(names, "%s: %s" % (names[0], why))
            fresh.append(group)
            found[group] = names
            for name in names:
                seen[name].digest, seen[name].why = "", why
            self.notes.append("%s cannot be kept for later runs: %s" % (", ".join(names), why))
        for group, names in found.items():
            for name in names:
                content = _content(name, group, seen[name], before.get(name))
                after[name] = Entry(content, group, name, values[name], seen[name])
        for one in seen.values():
            one.alive = None
        self._digests.forget()
        return after, fresh

    def _same_group(
        self, names: list[str], values: Mapping[str, Any], seen: Mapping[str, Seen], before: Mapping[str, Entry]
    ) -> Optional[str]:
        """The group that these names had, if nothing about them changed."""
        groups = set()
        for name in names:
            old = before.get(name)
            if old is None or (old.identity != id(values[name]) and not name.startswith("@")):
                return None
            if old.seen is not seen[name] and (not seen[name].digest or old.seen.digest != seen[name].digest):
                return None
            groups.add(old.group)
        return groups.pop() if len(groups) == 1 else None

    def _new_group(
        self, names: list[str], values: Mapping[str, Any], seen: Mapping[str, Seen], before: Mapping[str, Entry]
    ) -> str:
        own = {name: values[name] for name in names}
        why = next(("%s: %s" % (name, seen[name].why) for name in names if not seen[name].digest), "")
        roots = shared_roots(seen[name] for name in names)
        joint = ""
        if not why:
            alone = len(names) == 1
            joint = (seen[names[0]] if alone else look(own, self._namespace, roots, self._digests)).digest
        if not joint:
            self._count += 1
            group = "x%s-%d" % (self._token, self._count)
        else:
            group = hashlib.sha256(json.dumps([names, joint]).encode("utf-8", "surrogatepass")).hexdigest()
        if group not in self.groups:
            size = 0
            if not why:
                size, why = self._keep(group, own, roots)
            self.groups[group] = {"names": names, "why": why, "size": size}
        return group

    def _not_coming_back(
        self, groups: Mapping[str, list[str]], values: Mapping[str, Any], seen: Mapping[str, Seen]
    ) -> dict[str, str]:
        """Those of new groups that would not come back as they are, with the reason."""
        pending: dict[str, tuple[str, dict[str, Any]]] = {}
        for group, names in groups.items():
            told = self.groups[group]
            kinds = {kind for name in names for kind in seen[name].kinds}
            if told["why"] or told["size"] > LARGEST or names[0].startswith("@") or not needs_check(list(kinds)):
                continue
            if group not in self._checked:
                self._checked.add(group)
                pending[group] = group_path(self._library, group), {name: values[name] for name in names}
        return failures(pending, load)

    def _unkept(self, names: list[str], why: str) -> str:
        self._count += 1
        group = "x%s-%d" % (self._token, self._count)
        self.groups[group] = {"names": names, "why": why, "size": 0}
        return group

    def _keep(self, group: str, own: Mapping[str, Any], roots: frozenset[int]) -> tuple[int, str]:
        path = group_path(self._library, group)
        known, problem = tried_apart(parts.in_use_again, path)
        if problem is None:
            return known, ""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
        os.close(handle)
        with open(temporary, "wb") as file:
            size, problem = tried_apart(keep, own, self._namespace, file, roots, self._digests)
        if problem is not None:
            os.unlink(temporary)
            return 0, "%s: %s" % (", ".join(own), reason_of(problem, own[next(iter(own))]))
        os.replace(temporary, path)
        return size, ""

    def _single_values(
        self, fresh: Iterable[str], after: Mapping[str, Entry], values: Mapping[str, Any]
    ) -> dict[str, str]:
        """Values of groups that cannot be restored, each by itself as far as that goes: to be looked at, not to go on
        from."""
        from cloudpickle import cloudpickle

        found: dict[str, str] = {}
        bad = {group for group in fresh if self.groups[group]["why"]}
        for name, entry in after.items():
            if entry.group not in bad or name.startswith("@"):
                continue
            data, problem = tried_apart(cloudpickle.dumps, values[name])
            if problem is not None:
                continue
            data = veil.cover(data)
            digest = hashlib.sha256(data).hexdigest()
            path = os.path.join(self._library, "values", digest)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not os.path.exists(path):
                with open("%s.%d" % (path, os.getpid()), "wb") as file:
                    file.write(data)
                os.replace("%s.%d" % (path, os.getpid()), path)
            found[name] = digest
        return found

    # ------------------------------------------------------------------ reads
    def _reads(
        self, flow: Flow, before: Mapping[str, Entry], after: Mapping[str, Entry], touched: set[str]
    ) -> tuple[set[str], set[str]]:
        """(names whose content the task depended on, names that changed though it could not reach them)."""
        reads = {name for name in touched if not name.startswith("@")}
        surprised: set[str] = set()
        for name, old in before.items():
            new = after.get(name)
            changed = new is None or new.told() != old.told()
            if not changed:
                continue
            if name in STREAMS or name.startswith("@module"):
                reads.add(name)
            elif is_setting(name):
                continue
            elif new is None or new.identity != old.identity:
                if name not in flow.sets and name not in touched and not is_history(name):
                    surprised.add(name)
            elif new.content == old.content:
                reads.add(name)  # the same object in another group: its content went into that
            else:
                reads.add(name)
                if name not in touched:
                    surprised.add(name)
        for name in after:
            if name in STREAMS and (name not in before):
                reads.add(name)
            elif name in before or name.startswith("@") or is_history(name):
                continue
            elif name not in flow.sets and name not in touched:
                reads.add(name)  # set by a function or a star: it was not there before
        if flow.words & ASKING:
            reads |= STREAMS
        return reads, surprised

    # ------------------------------------------------------------------ going on from a state
    def move_to(self, names: Mapping[str, Any], groups: Mapping[str, Any]) -> None:
        """Make namespace and hidden state as ``names`` (name -> [content, group]) say, loading the groups that differ.

        Raises:
            OSError, ValueError, or anything that loading objects raises.
        """
        self._digests.forget()
        held = self.holding(names)
        differing = {name: told for name, told in names.items() if name not in held}
        gone = [name for name in self.entries if name not in names]
        for name in gone:
            if not name.startswith("@"):
                self._namespace.pop(name, None)
        loaded = self._load(differing)
        self.groups.update(groups)
        values = {name: loaded[told[1]][name] for name, told in differing.items()}
        items = {name: value for name, value in values.items() if name.startswith("@")}
        fresh = {name: value for name, value in values.items() if name not in items}
        kept = {n: e.item for n, e in self.entries.items() if n.startswith("@") and n in names and n not in items}
        if items or any(name.startswith("@") for name in gone):
            self._hidden.write({**kept, **items})
        for name in gone:
            del self.entries[name]
        now = self._values(frozenset())
        for name, told in differing.items():
            value = now.get(name, fresh.get(name, items.get(name)))
            self.entries[name] = Entry(told[0], told[1], name, value, look(value, self._namespace, known=self._digests))
            self.entries[name].seen.alive = None
        self._digests.forget()

    def move_to_part(self, names: Mapping[str, Any], groups: Mapping[str, Any], wanted: Iterable[str]) -> str:
        """Of a state (see :meth:`move_to`) bring hidden state and what a task can reach that mentions ``wanted``: what
        functions behind these names look up, and all that shares objects with them. Returns why that cannot be, or "".

        Raises what :meth:`move_to` raises.
        """
        part = {name: told for name, told in names.items() if name.startswith("@")}
        part.update({name: names[name] for name in wanted if name in names})
        while True:
            taken = {told[1] for told in part.values()}
            part.update({name: told for name, told in names.items() if told[1] in taken})
            for name, told in part.items():
                if why := (groups.get(told[1]) or {"why": "%s is not kept" % name}).get("why"):
                    return str(why)
            self.move_to(part, groups)
            more: set[str] = set()
            for name, entry in self.entries.items():
                if entry.seen.whole:
                    return "%s can reach any variable" % name
                more.update(entry.seen.names, entry.texts)
            more = {name for name in more if name in names and name not in part}
            if not more:
                return ""
            part.update({name: names[name] for name in more})

    def within_reach(self, wanted: Iterable[str]) -> set[str]:
        """Names that a task can reach which mentions ``wanted``: those, and what functions behind them look up."""
        found: set[str] = set()
        waiting = list(wanted)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                if (entry := self.entries.get(name)) is not None:
                    waiting += [*entry.seen.names, *entry.texts]
        return found

    def _load(self, differing: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The groups of these names, into the namespace as they come: one may need another to be loaded (a model that
        evaluates its formula again). Raises what the last one raised that could not be loaded."""
        members: dict[str, list[str]] = {}
        for name, told in differing.items():
            members.setdefault(told[1], []).append(name)
        loaded: dict[str, dict[str, Any]] = {}
        waiting = sorted(members, key=lambda group: any(name.startswith("@") for name in members[group]), reverse=True)
        while waiting:
            left: list[str] = []
            reason: Optional[Exception] = None
            for group in waiting:
                found, problem = tried_apart(load, group_path(self._library, group), self._digests)
                if problem is not None:
                    left.append(group)
                    reason = problem
                    continue
                loaded[group] = found
                self._namespace.update({n: found[n] for n in members[group] if not n.startswith("@")})
            if reason is not None and len(left) == len(waiting):
                raise reason
            waiting = left
        return loaded

    def holding(self, names: Mapping[str, Any]) -> dict[str, Any]:
        """Those of ``names`` that need not be loaded."""
        return {name: told for name, told in names.items() if self._group_of(name) == told[1]}

    def _group_of(self, name: str) -> str:
        entry = self.entries.get(name)
        return entry.group if entry is not None else ""


def group_path(library: str, group: str) -> str:
    return os.path.join(library, "groups", group[:2], group)


def _members(entries: Mapping[str, Entry], names: Iterable[str]) -> dict[str, list[str]]:
    """The groups of these names, with all names in them."""
    wanted = {entries[name].group for name in names if name in entries}
    found: dict[str, list[str]] = {}
    for name, entry in sorted(entries.items()):
        if entry.group in wanted:
            found.setdefault(entry.group, []).append(name)
    return found


def _content(name: str, group: str, seen: Seen, old: Optional[Entry]) -> str:
    """A name that holds what it held keeps its content, though another process may spell the digest otherwise."""
    if old is not None and (old.seen is seen or (seen.digest and old.seen.digest == seen.digest)):
        return old.content
    return seen.digest or "%s:%s" % (group, name)


def _names_in_texts(value: Any) -> list[str]:
    """Names in texts that could be a formula or a query, in a variable or one level inside it."""
    if isinstance(value, str):
        return list(identifiers(value)) if ("~" in value or "@" in value) and len(value) < 10000 else []
    if type(value) in (list, tuple, set) and len(value) < 1000:
        return [name for item in value if isinstance(item, str) for name in _names_in_texts(item)]
    if type(value) is dict and len(value) < 1000:
        return [name for item in value.values() if isinstance(item, str) for name in _names_in_texts(item)]
    return []


def _components(seen: Mapping[str, Seen]) -> list[list[str]]:
    """Names that share an object which can be changed, each set sorted."""
    parent = {name: name for name in seen}

    def find(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    owner: dict[int, str] = {}
    for name, one in seen.items():
        for key in one.shared:
            first = owner.setdefault(key, name)
            if first != name:
                parent[find(name)] = find(first)
    found: dict[str, list[str]] = {}
    for name in seen:
        found.setdefault(find(name), []).append(name)
    return [sorted(names) for names in found.values()]
