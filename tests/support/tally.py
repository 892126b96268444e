"""Stands in for ``mlplatform`` and counts: one JSON line for each run of a notebook, in the file ``TALLY_FILE`` names.

``kind``: first (the first run of its home), override (with parameters), edit (the notebook is not the one in
``TALLY_ORIGINALS``), again (the original, after an edit).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def main(words: list[str]) -> int:
    done = subprocess.run(
        [Path(sys.executable).parent / "mlplatform", *words], capture_output=True, text=True, check=False
    )
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    if words[:1] == ["run"]:
        try:
            told: Any = json.loads(done.stdout)
        except ValueError:
            told = None
        if told:
            _count(words, told)
    return done.returncode


def _count(words: list[str], run: Mapping[str, Any]) -> None:
    name = Path(words[1]).name
    home = words[words.index("--home") + 1]
    original = Path(os.environ["TALLY_ORIGINALS"]) / name
    first = Path(home) / ".tallied"
    same = Path(words[1]).read_bytes() == original.read_bytes()
    kind = "override" if "-p" in words else "edit" if not same else "again" if first.exists() else "first"
    first.touch()
    tasks = run["tasks"]
    why = [str(task.get("why") or "") for task in tasks]
    line = {
        "notebook": name,
        "kind": kind,
        "tasks": len(tasks),
        "cached": sum(bool(task.get("cached")) for task in tasks),
        "beside": sum("ran in a process of its own beside" in text for text in why),
        "tried": sum("was tried beside" in text for text in why),
    }
    with open(os.environ["TALLY_FILE"], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def summary(lines: Iterable[str]) -> list[str]:
    """What all these runs come to, a line for each kind."""
    found: dict[str, dict[str, int]] = {}
    for text in lines:
        line = json.loads(text)
        sums = found.setdefault(line["kind"], dict.fromkeys(("runs", "tasks", "cached", "beside", "tried"), 0))
        sums["runs"] += 1
        for word in ("tasks", "cached", "beside", "tried"):
            sums[word] += line[word]
    return [
        f"{kind}: {sums['runs']} runs, {sums['tasks']} tasks, {sums['cached']} from the cache "
        f"({sums['tasks'] - sums['cached']} ran, {(sums['tasks'] - sums['cached']) / sums['runs']:.1f} a run)"
        + (f", {sums['beside']} beside others, {sums['tried']} tried in vain" if sums["beside"] + sums["tried"] else "")
        for kind, sums in found.items()
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
