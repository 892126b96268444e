"""Final values of a notebook's run, for whoever asks afterwards; nothing is run again for them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlplatform.core.errors import EnvironmentFailed, NotFound
from mlplatform.engine.home import Home
from mlplatform.engine.notebooks.library import Library
from mlplatform.engine.notebooks.state import State, apply
from mlplatform.launcher import preload


def final_state(home: Home, run_id: str) -> tuple[State, dict[str, str]]:
    """(the state after the last task that ended well, values that are kept by themselves: name -> digest).

    Raises:
        NotFound: the run has no notebook, or none of its tasks ended well.
    """
    library = Library(home.root / "notebooks")
    state, singles, any_task = State(), dict[str, str](), False
    for pointer in sorted((home.run(run_id) / "notebook").glob("[0-9]*.json")):
        told = json.loads(pointer.read_bytes())
        record = library.record(str(told["key"]), str(told["token"]))
        if record is None:
            raise NotFound(f"the values of run {run_id} are gone: {pointer.name} has no record any more")
        any_task = True
        state = apply(state, record)
        singles.update(record.get("values") or {})
        for name in list(singles):
            told_now = state.names.get(name)
            if told_now is None or not state.groups.get(told_now[1], {}).get("why"):
                del singles[name]
    if not any_task:
        raise NotFound(f"run {run_id} keeps no values: it has no task of a notebook that ended well")
    return state, singles


def states_before(home: Home, run_id: str, positions: Sequence[int]) -> list[State]:
    """The states of a run before each of its tasks with these positions, and after the last.

    Raises:
        NotFound: one of these tasks did not end well, or its record is gone.
    """
    library, states = Library(home.root / "notebooks"), [State()]
    for position in positions:
        pointer = home.run(run_id) / "notebook" / f"{position:04d}.json"
        told: dict[str, Any] = json.loads(pointer.read_bytes()) if pointer.exists() else {}
        record = library.record(str(told["key"]), str(told["token"])) if told else None
        if record is None:
            raise NotFound(f"what the tasks before it left is not kept (task {position + 1} of run {run_id})")
        states.append(apply(states[-1], record))
    return states


def bad_groups(home: Home, states: Sequence[State]) -> frozenset[str]:
    """Snapshots of these states that are gone or turned out not to load."""
    library = Library(home.root / "notebooks")
    return frozenset(group for state in states for group in library.bad(state))


def write_values(
    home: Home, run_id: str, names: Sequence[str], to: Path, *, executable: str, folder: str, env: Mapping[str, str]
) -> dict[str, str]:
    """Write a pickled ``{name: bytes}`` to ``to``, each value cloudpickled by itself (classes and functions of the
    notebook by value); a name that cannot be had is left out. No names: all of them.

    Args:
        executable: the interpreter that ran the notebook; ``folder``: where it ran; ``env``: variables for it.

    Returns:
        The names that were left out, and why.

    Raises:
        NotFound: see :func:`final_state`. EnvironmentFailed: the interpreter could not load them.
    """
    library = home.run(run_id) / "notebook-state"  # of a run whose tasks were pods
    if library.exists():
        told: dict[str, Any] = json.loads((library / "state.json").read_bytes())
        state, singles = State({name: tuple(each) for name, each in told["names"].items()}), dict(told["values"])
    else:
        library = home.root / "notebooks"
        state, singles = final_state(home, run_id)
    wanted = list(names) or sorted(name for name in state.names if not name.startswith(("@", "_")))
    request: dict[str, Any] = {
        "library": str(library),
        "folder": folder,
        "names": {name: list(told) for name, told in state.names.items()},
        "singles": singles,
        "wanted": wanted,
        "to": str(to.absolute()),
    }
    with tempfile.TemporaryDirectory(prefix="mlplatform-values-") as place:
        asked, problems = Path(place, "request.json"), Path(place, "problems.json")
        asked.write_text(json.dumps({**request, "problems": str(problems)}), encoding="utf-8")
        done = subprocess.run(
            [executable or sys.executable, preload.DOOR, "--notebook-values", str(asked)],
            capture_output=True,
            text=True,
            env={**env, "PYTHONHASHSEED": "0"},
            check=False,
        )
        if done.returncode:
            raise EnvironmentFailed(f"the values of run {run_id} could not be loaded: {done.stderr.strip()[-2000:]}")
        return dict(json.loads(problems.read_bytes()))
