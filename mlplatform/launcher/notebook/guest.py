# pyright: basic
"""A session inside the image that a task's cells ask for: another machine's Python, with this notebook's variables.

It talks to its engine over standard input and output, and it is of use only to that engine: when the engine is gone it
is gone too. The engine mounts the launcher, the notebook's folder and the places of snapshots at their own paths.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from .. import trace
from .guard import tried
from .hidden import is_setting


class Unfit(Exception):
    """The image cannot run the task, with the user's own words for it. ``args``: message and hint."""


def watched(library: str) -> None:
    """Begin again with the interposer, if programs of this image start with it: its C library may be another, or
    older."""
    if not library or trace.native() is not None or library in os.environ.get("LD_PRELOAD", ""):
        return
    env = {**os.environ, "LD_PRELOAD": trace.preload_value(library, os.environ.get("LD_PRELOAD", ""))}
    tried = [sys.executable, "-I", "-S", "-c", "import ctypes; ctypes.CDLL(None).mlp_trace_start"]
    if subprocess.run(tried, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0:
        door = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "__main__.py")
        words = [sys.executable, door, "--notebook-guest", library]
        os.execve(sys.executable, words, env)  # noqa: S606 - there is no shell to want


def check(image: Mapping[str, Any]) -> None:
    """Whether variables can come into this Python and leave it again. Raises Unfit."""
    here = "%d.%d" % sys.version_info[:2]
    wanted = ".".join(str(image["python"]).split(".")[:2])
    if here != wanted:
        raise Unfit(
            "the image %s has Python %s, and the notebook's Python is %s: variables of one cannot come into the other"
            % (image["name"], here, wanted),
            "Take an image with Python %s, or run the notebook in an environment with Python %s." % (wanted, here),
        )
    missing = [name for name in ("IPython", "cloudpickle") if not _there(name)]
    if missing:
        raise Unfit(
            "the image %s cannot run cells: %s not installed in it"
            % (image["name"], " and ".join(missing) + (" is" if len(missing) == 1 else " are")),
            "Install them there (pip install ipython cloudpickle), or make an image of the environment you work in: "
            "mlplatform image build.",
        )


def _there(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def bring(checkpoints: Any, task: Mapping[str, Any], flow: Any, say: Callable[[bytes], Any]) -> dict[str, str]:
    """Of the state that the task starts from all that the packages of this image can load. What is set in a library
    that the image does not have is nothing here. Returns what was left out, with its content. Raises Unfit if something
    is missing that the task's cells can reach."""
    names, groups = task["start"]["names"], task["start"]["groups"]
    together: dict[str, list[str]] = {}
    for name, told in names.items():
        together.setdefault(told[1], []).append(name)
    part = checkpoints.holding(names)
    lost: dict[str, Exception] = {}
    for group in sorted(together, key=lambda group: any(name.startswith("@") for name in together[group])):
        wanted = {**part, **{name: names[name] for name in together[group]}}
        _, problem = tried(checkpoints.move_to, wanted, groups)
        if problem is None:
            part = wanted
        else:
            lost.update(dict.fromkeys(together[group], problem))
    whole = flow.whole or flow.history or any(entry.seen.whole for entry in checkpoints.entries.values())
    needed = checkpoints.within_reach(flow.reads)
    for name, problem in sorted(lost.items()):
        hidden = name.startswith("@")
        if not isinstance(problem, ModuleNotFoundError) if hidden else (whole or name in needed):
            raise _unfit_for(task["image"]["name"], name, problem)
    if lost:
        told = "mlplatform: note: left out, since the image cannot load it: %s\n" % ", ".join(sorted(lost))
        say(told.encode("utf-8", "backslashreplace"))
    return {name: names[name][0] for name in lost}


def left_alone(record: dict[str, Any], lost: Mapping[str, str]) -> None:
    """A task did nothing to the items that :func:`bring` left out, and depended on them as on all settings."""
    for name in lost:
        if name.startswith("@"):
            record["writes"].pop(name, None)
    record["deleted"] = [name for name in record["deleted"] if name not in lost]
    if record["whole"] is not None:
        record["whole"] = sorted({*record["whole"], *lost})
    record["settings"].update({name: content for name, content in lost.items() if is_setting(name)})


def _unfit_for(image: str, name: str, problem: Exception) -> Unfit:
    package = (getattr(problem, "name", None) or "").partition(".")[0]
    if isinstance(problem, ModuleNotFoundError) and package:
        words, hint = "%s is not installed in it" % package, "Install %s in the image" % package
    else:
        words = "%s: %s" % (type(problem).__name__, problem)
        hint = "Install the versions of packages in the image that the notebook has"
    what = "what the cells before it set (%s)" % name[1:] if name.startswith("@") else "the variable %s" % name
    more = "" if name.startswith("@") else ", or delete the variable before its cells begin, if they do not need it"
    return Unfit("the image %s cannot take over %s: %s" % (image, what, words), hint + more + ".")


def environment(spec: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a task here: the image's, and those that the engine gives to containers."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MLPLATFORM_", "LD_PRELOAD"))}
    return {**own, **{name: str(value) for name, value in spec["env"].items()}}
