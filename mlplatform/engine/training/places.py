"""Where a training job keeps its things on one machine. All of its state is in these files, each replaced as a whole:
any process may die between any two of them, and another one goes on.

::

    HOME/training/<job>/
      job.json                  the TrainingJob object: metadata and spec
      status.json               its status, with the ledger of what was decided
      a<attempt>/               what the ranks of an attempt share: ports, list of hosts
      ranks/<rank's name>/
        start.json              when it was started, its GPUs
        claim                   its first process; made once, so that a rank never runs twice
        progress.json           what it reported last
        stop.json               when it was asked to end, until when it may take to
        exit.json               how it ended
        gone                    what became of it is in the status
        log
    HOME/claims/<claim>/        checkpoints, named like a cluster's claims
    HOME/private/training-<job>.json   0600: the environment of whoever submitted it, while it lives
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlplatform.apis.trainingjob import TrainingJobSpec
from mlplatform.engine.home import Home
from mlplatform.planning.training.facts import RankKey
from mlplatform.planning.training.names import base36, job_claim, rank_claim, rank_name


@dataclass(frozen=True, slots=True)
class RankPlace:
    """One rank of one attempt."""

    root: Path

    @property
    def start(self) -> Path:
        return self.root / "start.json"

    @property
    def claim(self) -> Path:
        return self.root / "claim"

    @property
    def progress(self) -> Path:
        return self.root / "progress.json"

    @property
    def stop(self) -> Path:
        return self.root / "stop.json"

    @property
    def exit(self) -> Path:
        return self.root / "exit.json"

    @property
    def gone(self) -> Path:
        return self.root / "gone"

    @property
    def log(self) -> Path:
        return self.root / "log"


@dataclass(frozen=True, slots=True)
class JobPlace:
    """One job of a home."""

    home: Home
    name: str

    @property
    def root(self) -> Path:
        return self.home.training / self.name

    @property
    def object(self) -> Path:
        return self.root / "job.json"

    @property
    def status(self) -> Path:
        return self.root / "status.json"

    @property
    def private(self) -> Path:
        return self.home.private(f"training-{self.name}")

    def attempt(self, number: int) -> Path:
        return self.root / f"a{base36(number)}"

    def rank(self, key: RankKey) -> RankPlace:
        return RankPlace(self.root / "ranks" / rank_name(self.name, key))

    def ranks(self) -> Iterator[tuple[RankKey, RankPlace]]:
        """Every rank that has a folder here, gone ones too."""
        try:
            names = sorted(os.listdir(self.root / "ranks"))
        except OSError:
            return
        for name in names:
            if (key := read_rank_name(self.name, name)) is not None:
                yield key, RankPlace(self.root / "ranks" / name)

    def checkpoints(self, spec: TrainingJobSpec, key: RankKey) -> Path:
        """Where a rank finds checkpoints: a claim's folder, else one that goes with the rank, as a pod's own would."""
        asked = spec.checkpoint
        if asked is not None and asked.claim_name:
            return self.home.claims / asked.claim_name
        if asked is not None and asked.claim_spec:
            apart = asked.scope == "Rank"
            name = rank_claim(self.name, key.group, key.rank) if apart else job_claim(self.name)
            return self.home.claims / name
        return self.rank(key).root / "checkpoint"

    def own_claims(self, spec: TrainingJobSpec) -> list[Path]:
        """The folders that the job made for its ranks."""
        asked = spec.checkpoint
        if asked is None or not asked.claim_spec or asked.claim_name:
            return []
        if asked.scope == "Job":
            return [self.home.claims / job_claim(self.name)]
        return [
            self.home.claims / rank_claim(self.name, group.name, rank)
            for group in spec.groups
            for rank in range(group.replicas)
        ]


def read_rank_name(job: str, name: str) -> RankKey | None:
    """The rank that a name made by ``rank_name`` stands for; None: it is none of this job."""
    if not name.startswith(job + "-"):
        return None
    rest, _, rank = name[len(job) + 1 :].rpartition("-")
    group, _, attempt = rest.rpartition("-a")
    if not group or not rank.isdecimal():
        return None
    try:
        return RankKey(group, int(rank), int(attempt, 36))
    except ValueError:
        return None
