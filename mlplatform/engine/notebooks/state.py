"""The state of a notebook between tasks, as its records tell it, and whether a record stands in a given state. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlplatform.core.values import child
from mlplatform.launcher.notebook.hidden import is_setting

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """``names``: variable or hidden item -> (content, group). ``groups``: what is known of each group: ``why`` it
    cannot be restored, if it cannot. ``files``: what tasks have left: path -> digest, "" for a folder, None if removed.
    ``blocks``: why no process can go on from here. ``unknown``: a record is missing; nothing is known.
    """

    names: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    files: Mapping[str, str | None] = field(default_factory=dict[str, "str | None"])
    blocks: tuple[str, ...] = ()
    unknown: bool = False


def apply(state: State, record: Record | None) -> State:
    """The state after a task, from its record."""
    if record is None:
        return State(unknown=True)
    names = dict(state.names)
    for name in record["deleted"]:
        names.pop(name, None)
    names.update({name: (told[0], told[1]) for name, told in record["writes"].items()})
    groups = {**state.groups, **record["groups"]}
    files = {**state.files, **child(child(record, "files"), "writes")}
    return State(names, groups, files, tuple(record["blocks"]), state.unknown)


def difference(record: Record, state: State) -> str:
    """The first thing that a task read and that is not as it was, in words; empty if all is. Files of the outside are
    not looked at."""
    if state.unknown:
        return "what the tasks before it did is not known"
    reads: Mapping[str, Any] = record["reads"]
    for name, told in reads.items():
        now = state.names.get(name)
        if told is None and now is not None:
            return f"{described(name)} is there now; it was not when the task ran"
        if told is not None and now is None:
            return f"{described(name)}, which it read, is gone"
        if told is not None and now is not None and told[0] != now[0]:
            return f"{described(name)}, which it read, changed"
    shared = _sharing_changed(reads, state) or _held_elsewhere(record, state)
    if shared:
        return shared
    if record["whole"] is not None:
        extra = sorted(set(state.names) ^ set(record["whole"]))
        if extra:
            return f"it can reach every variable, and {described(extra[0])} came or went"
    settings: Mapping[str, str] = record["settings"]
    now_settings = {name: told[0] for name, told in state.names.items() if is_setting(name)}
    for name in sorted({*settings, *now_settings}):
        if settings.get(name) != now_settings.get(name):
            return f"{described(name)} changed"
    for path, before in child(child(record, "files"), "own_reads").items():
        if path not in state.files or state.files[path] != before:
            return f"{path}, which it read, changed"
    return ""


def _sharing_changed(reads: Mapping[str, Any], state: State) -> str:
    """Names that belong together must be the very same group; one by itself only needs the same content."""
    before: dict[str, list[str]] = {}
    now: dict[str, list[str]] = {}
    for name, told in reads.items():
        if told is not None:
            before.setdefault(told[1], []).append(name)
            now.setdefault(state.names[name][1], []).append(name)
    for names in (*before.values(), *now.values()):
        if len(names) > 1 and any(reads[name][1] != state.names[name][1] for name in names):
            return f"what {described(names[0])} shares with {described(names[1])} changed"
    return ""


def _held_elsewhere(record: Record, state: State) -> str:
    """What a task changed after it had read it must be shared by the same names as then: a name that has come to share
    it since would have changed with it."""
    changed = {*record["writes"], *record["deleted"]}
    for name, told in record["reads"].items():
        if told is None or name not in changed or name.startswith("@") or state.names[name][1] == told[1]:
            continue
        before = set(child(record, "held").get(told[1]) or ())
        now = {other for other, (_, group) in state.names.items() if group == state.names[name][1]}
        if before != now:
            other = min((before ^ now) - {name}, default=name)
            return f"what {described(name)} shares with {described(other)} changed"
    return ""


def unrestorable(state: State, bad: frozenset[str] = frozenset(), live: State | None = None) -> str:
    """Why no process can be brought to this state; empty if one can. ``bad``: groups that turned out not to load.
    ``live``: the state of a process that is there already."""
    if state.unknown:
        return "what the tasks before it did is not known"
    for why in state.blocks:
        if live is None or why not in live.blocks:
            return why
    for name, (_, group) in state.names.items():
        if live is not None and name in live.names and live.names[name][1] == group:
            continue
        why = str(state.groups.get(group, {}).get("why") or "")
        if why or group in bad or group not in state.groups:
            return why or f"{name} cannot be loaded"
    return ""


def starting_point(states: Sequence[State], bad: frozenset[str]) -> int:
    """The last of ``states`` that a fresh process can be brought to (the first, which is empty, always can)."""
    for index in range(len(states) - 1, 0, -1):
        if not unrestorable(states[index], bad):
            return index
    return 0


def may_skip(states: Sequence[State], position: int, miss: int | None, bad: frozenset[str], live: State | None) -> str:
    """Whether the result of task ``position`` may stand without running it; empty if so, else the reason.

    ``states[i]``: the state before task i, as far as results stand. ``miss``: the next task that has to run, None if
    there is none. A process must be able to reach that task without this one: from a state after it.
    """
    if miss is None:
        return ""
    reason = ""
    for index in range(position + 1, miss + 1):
        reason = unrestorable(states[index], bad, live)
        if not reason:
            return ""
    return reason


def described(name: str) -> str:
    """A name in words."""
    if not name.startswith("@"):
        return f"variable {name}"
    if name.startswith("@patch:"):
        module, path, attribute = name[len("@patch:") :].split(":")
        return f"the patched {'.'.join(word for word in (module, path, attribute) if word)}"
    if name.startswith("@module:"):
        return f"the data of module {name[len('@module:') :]}"
    return _WORDS.get(name, f"the state of {name[1:]}")


_WORDS = {
    "@random": "the state of the random generator",
    "@numpy.random": "the state of numpy's global generator",
    "@torch.random": "the state of torch's global generator",
    "@environment": "the environment",
    "@folder": "the working folder",
    "@sys.path": "the import path",
    "@argv": "sys.argv",
    "@timezone": "the time zone",
    "@warnings": "the warning filters",
    "@recursion": "the recursion limit",
    "@process": "a setting of the process (umask, gc, default timeout ...)",
    "@copyreg": "what is registered with copyreg",
    "@csv": "the dialects of csv",
    "@sqlite3": "what is registered with sqlite3",
    "@colormaps": "the colour maps of matplotlib",
    "@numpy.options": "numpy's options",
    "@matplotlib": "matplotlib's settings (rcParams)",
    "@pandas": "pandas' options",
    "@decimal": "the decimal context",
    "@sklearn": "scikit-learn's settings",
    "@torch": "torch's settings",
    "@mlflow": "MLflow's autologging",
    "@ipython": "the shell's settings",
    "@locale": "the locale",
    "@logging": "logging's settings",
    "@modules": "the loaded modules of the project",
}
