"""The ranks of a job as processes of this machine: started, seen, asked to end, taken away.

What a rank is doing is read from its files and from the system each time; this object only remembers what may be
forgotten (processes that are its children, ranks that wait for a GPU).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from mlplatform.engine.executors.process_reason import OomWatch
from mlplatform.engine.files import read_json, write_json
from mlplatform.engine.training.places import JobPlace, RankPlace
from mlplatform.engine.training.words import last_words
from mlplatform.launcher import preload, tree
from mlplatform.launcher.identity import is_alive
from mlplatform.planning.training.facts import RankFact, RankKey, RankState
from mlplatform.planning.training.lastwords import reasons_in

#: Seconds: for a process that was started to claim its rank; beyond its grace for a rank's first process to write down
#: how it ended; for stacks to be written.
CLAIMING: Final = 10.0
OVERDUE: Final = 5.0
DUMPING: Final = 0.3
#: A rank that hangs does not save any more: it gets no more than this to end, in seconds.
HUNG_GRACE: Final = 10.0
#: What a rank ends with that somebody killed together with whoever would have written it down.
KILLED: Final = 137


class Room(Protocol):
    """Who gives ranks their places on the machine. A holder is told by a name of its own."""

    def take(self, holder: str, gpus: int) -> tuple[int, ...] | str:
        """The numbers of the GPUs that it has from now on, the same ones if it has them already; or why there is no
        place for it."""
        ...

    def hold(self, holder: str, gpus: Sequence[int]) -> None:
        """One that was found again has these."""
        ...

    def free(self, holder: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Command:
    """What a rank runs. ``env`` is all of its environment."""

    words: Sequence[str]
    folder: str
    env: Mapping[str, str] = field(repr=False)
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Here:
    """This machine: its name, as a job's status tells it, and what tells one boot from another."""

    node: str
    boot: str


class Ranks:
    """The ranks of one job."""

    def __init__(self, place: JobPlace, here: Here, room: Room) -> None:
        self._place = place
        self._here = here
        self._room = room
        self._children: dict[RankKey, subprocess.Popen[bytes]] = {}
        self._pending: dict[RankKey, tuple[Command, str]] = {}
        self._killed: set[RankKey] = set()
        self._oom = OomWatch()
        for key, rank in place.ranks():
            if not rank.gone.exists() and (gpus := read_json(rank.start).get("gpus")):
                room.hold(self._holder(key), gpus)

    def _holder(self, key: RankKey) -> str:
        return self._place.rank(key).root.name

    # ------------------------------------------------------------------ what there is
    def look(self, now: float) -> dict[RankKey, RankFact]:
        """Every rank that is not gone. What a rank left running when its first process was killed is ended here."""
        facts: dict[RankKey, RankFact] = {}
        for key, (command, _) in sorted(self._pending.items()):
            self._try(key, command, now)
        for key, (_, why) in self._pending.items():
            facts[key] = RankFact(key, RankState.PENDING, message=why)
        for key, rank in self._place.ranks():
            if key not in facts and not rank.gone.exists():
                fact = self._fact(key, rank, now)
                if fact is not None:
                    facts[key] = fact
        return facts

    def _fact(self, key: RankKey, rank: RankPlace, now: float) -> RankFact | None:
        start, claim = read_json(rank.start), read_json(rank.claim)
        at: float | None = start.get("at")
        child = self._children.get(key)
        if child is not None and child.poll() is not None:
            del self._children[key]
            child = None
        if not claim:
            claiming = child is not None or (at is not None and now - at < CLAIMING)
            return RankFact(key, RankState.STARTING, node=self._here.node, placed_at=at) if claiming else None
        stop = read_json(rank.stop)
        if self._runs(claim):
            if not stop:
                return RankFact(key, RankState.RUNNING, True, self._here.node, placed_at=at)
            self._hurry(key, claim, stop, now)
            return RankFact(key, RankState.STOPPING, node=self._here.node, placed_at=at)
        if not rank.exit.exists():
            self._left_alone(rank, claim, now)
        return self._ended(key, rank, at, stop)

    def _runs(self, claim: Mapping[str, Any]) -> bool:
        return claim["boot"] == self._here.boot and is_alive(int(claim["pid"]), str(claim["pid_start"]))

    def _left_alone(self, rank: RankPlace, claim: Mapping[str, Any], now: float) -> None:
        """The first process of a rank is gone without a word: end what is left of it, and write the word."""
        if claim["boot"] != self._here.boot:
            write_json(rank.exit, {"code": None, "at": now, "reason": "NodeLost"})
            return
        tree.kill(int(claim["pid"]), str(claim["pid_start"]), str(claim["cookie"]), grace=0.0)
        write_json(rank.exit, {"code": KILLED, "at": now, "reason": ""})

    def _ended(self, key: RankKey, rank: RankPlace, at: float | None, stop: Mapping[str, Any]) -> RankFact:
        left = read_json(rank.exit)
        code: int | None = left.get("code")
        # Told to end before it did, exit code 0 only says that it stopped in good order.
        stopped = bool(stop) and (left.get("told") is not None or code != 0)
        reasons = {str(left["reason"])} if left.get("reason") else set[str]()
        if stopped and not reasons:
            reasons.add("Deleted")
        elif code == KILLED and not stop and "oom" not in left:
            oom = self._oom.happened()
            write_json(rank.exit, {**left, "oom": oom})
            left["oom"] = oom
        if left.get("oom"):
            reasons.add("OOMKilled")
        good = code == 0 and not reasons
        words = "" if good or stopped else last_words(rank.log)
        reasons |= reasons_in(words)
        return RankFact(
            key,
            RankState.SUCCEEDED if good else RankState.FAILED,
            node=self._here.node,
            exit_code=code,
            reasons=frozenset(reasons),
            message=words,
            placed_at=at,
            finished_at=left.get("at"),
        )

    # ------------------------------------------------------------------ what is done
    def start(self, key: RankKey, command: Command, now: float) -> None:
        """Have a rank run. One that is there already stays as it is; one for which there is no place waits for it.

        Raises:
            OSError: its process cannot be made.
        """
        rank = self._place.rank(key)
        if key not in self._children and not rank.claim.exists():
            self._try(key, command, now)

    def _try(self, key: RankKey, command: Command, now: float) -> None:
        given = self._room.take(self._holder(key), command.gpus)
        if isinstance(given, str):
            self._pending[key] = command, given
            return
        self._pending.pop(key, None)
        rank = self._place.rank(key)
        rank.root.mkdir(parents=True, exist_ok=True)
        write_json(rank.start, {"at": now, "gpus": list(given)})
        # By it processes are found and ended: nobody of another home, or job of the same name, may have it.
        home = hashlib.sha256(os.fsencode(self._place.root)).hexdigest()[:12]
        cookie = f"{home}/{rank.root.name}/{self._here.boot[:8]}"
        env = {**command.env, "MLPLATFORM_ATTEMPT": cookie}
        if command.gpus:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(str(number) for number in given)
        with rank.log.open("ab") as log:
            self._children[key] = subprocess.Popen(
                [sys.executable, "-I", preload.DOOR, "--rank", str(rank.root), cookie, *command.words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=command.folder,
                env=env,
                start_new_session=True,
            )

    def stop(self, key: RankKey, reason: str, grace: float, now: float) -> None:
        """Ask a rank to save and end; repeated, nothing more."""
        if self._pending.pop(key, None) is not None:
            self._room.free(self._holder(key))
            return
        rank = self._place.rank(key)
        if reason == "Hung":
            self.show_stacks([key])
            grace = min(grace, HUNG_GRACE)
        if not rank.stop.exists():
            write_json(rank.stop, {"at": now, "until": now + grace, "reason": reason})
        claim = self._claimed(key, rank)
        if claim and self._runs(claim):
            # Its first process hands it on to all below, once.
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(claim["pid"]), signal.SIGTERM)

    def _claimed(self, key: RankKey, rank: RankPlace) -> dict[str, Any]:
        """The claim of a rank that may just be starting."""
        end = time.monotonic() + CLAIMING
        while not (claim := read_json(rank.claim)) and key in self._children and time.monotonic() < end:
            if self._children[key].poll() is not None:
                break
            time.sleep(0.005)
        return claim

    def _hurry(self, key: RankKey, claim: Mapping[str, Any], stop: Mapping[str, Any], now: float) -> None:
        """See that a rank that was asked to end does."""
        pid, cookie = int(claim["pid"]), str(claim["cookie"])
        if now >= stop["until"]:
            alone = [pid] if now < stop["until"] + OVERDUE else []
            tree.send(tree.find(pid, str(claim["pid_start"]), cookie, alone), signal.SIGKILL)
        elif key not in self._killed:
            # Asked by a service that may have died before it did.
            self._killed.add(key)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def asked_to_end(self, key: RankKey) -> bool:
        return self._place.rank(key).stop.exists()

    def forget(self, key: RankKey) -> None:
        """What became of a rank is kept elsewhere."""
        self._room.free(self._holder(key))
        self._pending.pop(key, None)
        self._killed.discard(key)
        rank = self._place.rank(key)
        if rank.root.is_dir():
            rank.gone.touch()

    def free_ended(self, facts: Mapping[RankKey, RankFact]) -> None:
        """Ranks that ended hold nothing."""
        for key, fact in facts.items():
            if not fact.alive:
                self._room.free(self._holder(key))

    def show_stacks(self, keys: Sequence[RankKey]) -> None:
        """Have the processes of these ranks write their stacks into their logs."""
        asked = False
        for key in keys:
            claim = read_json(self._place.rank(key).claim)
            if claim and self._runs(claim):
                for one in tree.find(int(claim["pid"]), str(claim["pid_start"]), str(claim["cookie"])):
                    number = _dumps(one.pid)
                    if number is not None:
                        tree.send([one], number)
                        asked = True
        if asked:
            time.sleep(DUMPING)


def _dumps(pid: int, read: Callable[[Path], str] = Path.read_text) -> int | None:
    """The signal at which a process writes its stacks: SIGUSR2 where it called ``mlplatform.training.init``, SIGABRT
    where Python's faulthandler is on (it ends the process, too); None: it would only die of it."""
    try:
        lines = read(Path(f"/proc/{pid}/status")).splitlines()
    except OSError:
        return None
    caught = next((int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")), 0)
    for number in (signal.SIGUSR2, signal.SIGABRT):
        if caught >> (number - 1) & 1:
            return number
    return None
