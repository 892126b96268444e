"""A machine for training jobs: real processes, and a clock that only moves when it is told to. Its methods are those of
``tests.support.kube.training.TrainingCluster``, so that a script can be run on both (:class:`Both`)."""

from __future__ import annotations

import copy
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlplatform.engine.files import read_json, write_json
from mlplatform.engine.home import Home
from mlplatform.engine.training.driver import Driver
from mlplatform.engine.training.places import JobPlace, RankPlace
from mlplatform.engine.training.ranks import Here
from mlplatform.launcher import tree
from mlplatform.launcher.identity import boot_id
from mlplatform.planning.training.facts import RankKey
from tests.support.kube.training import NAME, TrainingCluster

#: A rank that does nothing until it is told how to end.
WAITS = 'mkfifo "$0" && exit "$(cat "$0")"'
PATIENCE = 30.0


def waiting_rank(body: dict[str, Any]) -> dict[str, Any]:
    """The job with ranks that wait for a word."""
    body = copy.deepcopy(body)
    for group in body["spec"]["groups"]:
        words = ["/bin/sh", "-c", 'exec /bin/sh -c "$0" "${MLP_PROGRESS_FILE%/*}/order"', WAITS]
        group["template"]["spec"]["containers"][0]["command"] = words
    return body


@dataclass
class Places:
    """So many ranks find a place."""

    room: int = 10_000
    held: set[str] = field(default_factory=set[str])

    def take(self, holder: str, gpus: int) -> tuple[int, ...] | str:
        if holder not in self.held and len(self.held) >= self.room:
            return "0/2 nodes are available"
        self.held.add(holder)
        return ()

    def hold(self, holder: str, gpus: Sequence[int]) -> None:
        self.held.add(holder)

    def free(self, holder: str) -> None:
        self.held.discard(holder)


class TrainingMachine:
    """One job called ``job``. A new driver takes over whenever :meth:`die` was called."""

    def __init__(self, folder: Path, now: float = 1_700_000_000.0) -> None:
        self.now = now
        self.places = Places()
        self.place = JobPlace(Home(folder), NAME)
        self.here = Here("node-0", boot_id())
        #: Ranks, by name, that do not end when they are asked to.
        self.silent: set[str] = set()
        self._driver: Driver | None = None
        (folder / "private").mkdir(parents=True, exist_ok=True)

    @property
    def room(self) -> int:
        return self.places.room

    @room.setter
    def room(self, count: int) -> None:
        self.places.room = count

    def die(self) -> None:
        """The process that drives is gone; so is all it had in mind."""
        self._driver = None
        self.places = Places(self.places.room)

    # ------------------------------------------------------------------ what users do
    def submit(self, body: dict[str, Any], uid: str = "uid-1") -> None:
        body = waiting_rank(body)
        body["metadata"] |= {"uid": uid, "generation": 1}
        self.place.root.mkdir(parents=True)
        write_json(self.place.object, body)
        self.run()

    def change(self, **spec: Any) -> None:
        body = self.body()
        if "groups" in spec:
            spec["groups"] = waiting_rank({"spec": {"groups": spec["groups"]}})["spec"]["groups"]
        if {**body["spec"], **spec} != body["spec"]:
            body["metadata"]["generation"] += 1
        body["spec"] |= spec
        write_json(self.place.object, body)
        self.run()

    def delete(self) -> None:
        body = self.body()
        body["metadata"]["deletionTimestamp"] = "2023-11-14T22:13:20Z"
        write_json(self.place.object, body)
        self.run()

    def body(self) -> dict[str, Any]:
        return read_json(self.place.object)

    @property
    def status(self) -> dict[str, Any]:
        return read_json(self.place.status)

    @property
    def phase(self) -> str:
        return str(self.status.get("phase", ""))

    def names(self) -> list[str]:
        return sorted(
            rank.root.name for _, rank in self.place.ranks() if not rank.gone.exists() and rank.start.exists()
        )

    # ------------------------------------------------------------------ what time and processes do
    def run(self, seconds: float = 0.0) -> None:
        """Time passes; then driver and processes work until nothing happens any more."""
        self.now = round(self.now + seconds, 3)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            before = self._state()
            driver = self._driver = self._driver or Driver(self.place, self.here, self.places)
            driver.turn(self.now)
            if driver.removed:
                return
            if self._settled() and self._state() == before:
                return
        raise AssertionError(f"it never comes to rest: {self._state()}")

    def _state(self) -> tuple[str, str]:
        files = [
            (rank.root.name, rank.claim.exists(), rank.exit.exists(), rank.gone.exists(), rank.stop.exists())
            for _, rank in self.place.ranks()
        ]
        return json.dumps(self.status), repr(files)

    def _settled(self) -> bool:
        """Wait for what is on its way: a rank that starts, or ends."""
        for _, rank in self.place.ranks():
            if rank.gone.exists() or rank.root.name in self.silent:
                continue
            end = time.monotonic() + PATIENCE
            while not self._at_rest(rank):
                if time.monotonic() > end:
                    raise AssertionError(f"{rank.root.name}: {rank.log.read_text()}")
                time.sleep(0.002)
        return True

    def _at_rest(self, rank: RankPlace) -> bool:
        claim = read_json(rank.claim)
        if not claim:
            return not rank.start.exists()
        if rank.stop.exists() or rank.exit.exists():
            return not tree.find(claim["pid"], claim["pid_start"], claim["cookie"])
        return (rank.root / "order").exists()

    def _rank(self, group: str, rank: int) -> RankPlace:
        key = max((key for key, _ in self.place.ranks() if (key.group, key.rank) == (group, rank)), key=_attempt)
        return self.place.rank(key)

    def end(self, group: str, rank: int, code: int = 0) -> None:
        """A rank's process ends by itself."""
        place = self._rank(group, rank)
        (place.root / "order").write_text(f"{code}\n")
        end = time.monotonic() + PATIENCE
        while not (place.exit.exists() and self._at_rest(place)):
            assert time.monotonic() < end, place.root.name
            time.sleep(0.002)

    def end_all(self) -> None:
        for key, rank in self.place.ranks():
            if rank.claim.exists() and not rank.exit.exists() and not rank.gone.exists():
                self.end(key.group, key.rank)

    def report(self, group: str = "worker", rank: int = 0, **said: Any) -> None:
        place = self._rank(group, rank)
        write_json(place.progress, said)

    def freeze(self, group: str, rank: int) -> None:
        """A rank hears no signal, as on a node that is silent."""
        place = self._rank(group, rank)
        self.silent.add(place.root.name)
        os.kill(read_json(place.claim)["pid"], signal.SIGSTOP)

    def thaw(self) -> None:
        for _, rank in self.place.ranks():
            if rank.root.name in self.silent and not rank.exit.exists():
                os.kill(read_json(rank.claim)["pid"], signal.SIGCONT)
        self.silent.clear()

    def pids(self, group: str) -> dict[str, int]:
        """The first process of each rank that there is, by its name."""
        return {
            rank.root.name: read_json(rank.claim)["pid"]
            for key, rank in self.place.ranks()
            if key.group == group and not rank.gone.exists()
        }

    def claims(self) -> list[str]:
        folder = self.place.home.claims
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    def clear(self) -> None:
        """Nothing of the machine is left."""
        for _, rank in self.place.ranks():
            if claim := read_json(rank.claim):
                tree.kill(claim["pid"], claim["pid_start"], claim["cookie"], grace=0.0)


def _attempt(key: RankKey) -> int:
    return key.attempt


class Both:
    """A cluster and a machine that live through the same, and say the same of it."""

    nodes = "node"

    def __init__(self, folder: Path) -> None:
        self.cluster = TrainingCluster()
        self.machine = TrainingMachine(folder, self.cluster.now)

    def submit(self, body: dict[str, Any]) -> None:
        made = self.cluster.submit(copy.deepcopy(body))
        self.machine.submit(body, made["metadata"]["uid"])
        self.same()

    def change(self, **spec: Any) -> None:
        self.cluster.change(**copy.deepcopy(spec))
        self.machine.change(**spec)
        self.same()

    def run(self, seconds: float = 0.0) -> None:
        self.cluster.run(seconds)
        self.machine.run(seconds)
        self.same()

    def end(self, group: str, rank: int, code: int = 0) -> None:
        self.cluster.end(group, rank, code)
        self.machine.end(group, rank, code)

    def end_all(self) -> None:
        self.cluster.end_all()
        self.machine.end_all()

    def freeze(self, group: str, rank: int) -> None:
        self.cluster.silent.add(f"node-{rank}")
        self.machine.freeze(group, rank)

    def thaw(self) -> None:
        self.cluster.silent.clear()
        self.machine.thaw()

    @property
    def room(self) -> int:
        return self.machine.room

    @room.setter
    def room(self, count: int) -> None:
        self.cluster.room = self.machine.room = count

    def body(self) -> dict[str, Any]:
        return self.cluster.body()

    @property
    def status(self) -> dict[str, Any]:
        self.same()
        return self.cluster.status

    @property
    def phase(self) -> str:
        return str(self.status.get("phase", ""))

    def says(self, kind: str) -> tuple[str, str, str] | None:
        self.same()
        return self.cluster.says(kind)

    def pods(self) -> list[dict[str, Any]]:
        return self.cluster.pods()

    def names(self) -> list[str]:
        assert self.machine.names() == self.cluster.names()
        return self.cluster.names()

    def same(self) -> None:
        """Field by field."""
        assert plain(self.machine.status) == plain(self.cluster.status)

    def clear(self) -> None:
        self.machine.clear()


def plain(status: dict[str, Any]) -> dict[str, Any]:
    """But for the names of nodes: a machine is one."""
    text = json.loads(json.dumps(status))
    for attempt in text.get("attempts", ()):
        if attempt.get("node"):
            attempt["node"] = "node"
    return text


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
