"""What ``tests/training/scripts/digits_*.py`` leave behind: which process did which step with which samples, and what
came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Of the scripts: samples in all, samples a step, epochs.
SAMPLES, BATCH, EPOCHS = 1797, 120, 4
STEPS = SAMPLES // BATCH * EPOCHS


@dataclass(frozen=True, order=True)
class Done:
    """One step of one process. ``world``: how many processes there were; ``ids``: the samples that it took."""

    at: float
    step: int
    rank: int
    world: int
    ids: tuple[int, ...]


def done(folder: Path) -> list[Done]:
    """Every step of every process so far, in the order of time."""
    return sorted(_read(folder))


def _read(folder: Path) -> Iterator[Done]:
    for file in folder.glob("seen-*"):
        rank = int(file.name.split("-")[2])
        for line in file.read_text().splitlines(keepends=True):
            if line.endswith("\n"):  # else it is just being written
                told = json.loads(line)
                yield Done(told["at"], told["step"], rank, told["world"], tuple(told["ids"]))


def steps(folder: Path, rank: int = 0) -> list[int]:
    """The steps of the process with this rank, those that were done again included."""
    return [one.step for one in done(folder) if one.rank == rank]


def when(folder: Path, step: int) -> float:
    """The moment at which rank 0 did a step first."""
    return next(one.at for one in done(folder) if (one.rank, one.step) == (0, step))


def again(folder: Path) -> int:
    """How many steps of rank 0 were done more than once."""
    mine = steps(folder)
    return len(mine) - len(set(mine))


def each_sample_once_an_epoch(folder: Path) -> bool:
    """Of what counts in the end: the last time that a step was done, by all who did it then."""
    last: dict[int, dict[int, Done]] = {}
    for one in done(folder):
        last.setdefault(one.step, {})[one.rank] = one
    epochs: dict[int, list[int]] = {}
    for step, ranks in last.items():
        world = max(ranks.values()).world
        if not set(range(world)) <= set(ranks):
            return False
        batch = [sample for rank in range(world) for sample in ranks[rank].ids]
        epochs.setdefault(step // (SAMPLES // BATCH), []).extend(batch)
    whole = SAMPLES // BATCH * BATCH
    return len(epochs) == EPOCHS and all(len(ids) == len(set(ids)) == whole for ids in epochs.values())


def loss(folder: Path) -> tuple[float, int]:
    """(the loss at the end, by how many processes)."""
    told = json.loads((folder / "final.json").read_text())
    return float(told["loss"]), int(told["world"])
