"""What is known of a training job: its ranks as they are seen, what they report, and what was decided so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from mlplatform.core.errors import InvalidTransition
from mlplatform.planning.training.spec import Action


@dataclass(frozen=True, slots=True, order=True)
class RankKey:
    """One rank of one attempt. The attempt is in the name of what runs it, so an old one is never taken for a new."""

    group: str
    rank: int
    attempt: int


class RankState(StrEnum):
    """PENDING: asked for, has no place yet. STARTING: has a place. STOPPING: told to end, not gone yet. A rank that is
    gone has no fact."""

    PENDING = "Pending"
    STARTING = "Starting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    STOPPING = "Stopping"


@dataclass(frozen=True, slots=True)
class RankFact:
    """What is seen of a rank. ``conditions`` are pod conditions that are true (DisruptionTarget), ``reasons`` the
    platform's words (OOMKilled, NodeLost, Evicted, Preempted, ImagePull). Times are seconds since the epoch."""

    key: RankKey
    state: RankState
    ready: bool = False
    node: str = ""
    exit_code: int | None = None
    conditions: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    message: str = ""
    placed_at: float | None = None
    finished_at: float | None = None

    @property
    def placed(self) -> bool:
        return self.state is not RankState.PENDING

    @property
    def working(self) -> bool:
        """Does its part: running and ready, or done with it."""
        return self.state is RankState.SUCCEEDED or (self.state is RankState.RUNNING and self.ready)

    @property
    def alive(self) -> bool:
        """Somebody may still be running."""
        return self.state in _ALIVE


_ALIVE: Final = frozenset({RankState.PENDING, RankState.STARTING, RankState.RUNNING, RankState.STOPPING})


@dataclass(frozen=True, slots=True)
class Report:
    """What the ranks of the current attempt said last. ``checkpoint`` is the newest step that was saved whole, by
    whatever attempt; ``at`` and ``checkpoint_at`` are seconds since the epoch."""

    step: int | None = None
    at: float | None = None
    checkpoint: int | None = None
    checkpoint_at: float | None = None
    checkpoint_uri: str = ""
    stuck: tuple[str, int] | None = None


class Stage(StrEnum):
    """Where a job is. Everything a user reads (phase, conditions) follows from it."""

    SUSPENDED = "Suspended"
    QUEUED = "Queued"
    PLACING = "Placing"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    RELEASING = "Releasing"
    SUSPENDING = "Suspending"
    COMPLETE = "Complete"
    FAILED = "Failed"

    @property
    def finished(self) -> bool:
        return self in (Stage.COMPLETE, Stage.FAILED)


_ENDS: Final = frozenset({Stage.COMPLETE, Stage.FAILED})
#: RELEASING: the gang was not whole in time, or lost its quota; all of it is taken back, then it waits in QUEUED.
TRANSITIONS: Final[Mapping[Stage, frozenset[Stage]]] = {
    Stage.SUSPENDED: frozenset({Stage.QUEUED}) | _ENDS,
    Stage.QUEUED: frozenset({Stage.PLACING, Stage.SUSPENDING, Stage.SUSPENDED}) | _ENDS,
    Stage.PLACING: frozenset({Stage.RUNNING, Stage.RESTARTING, Stage.RELEASING, Stage.SUSPENDING}) | _ENDS,
    Stage.RUNNING: frozenset({Stage.PLACING, Stage.RESTARTING, Stage.RELEASING, Stage.SUSPENDING}) | _ENDS,
    Stage.RESTARTING: frozenset({Stage.PLACING, Stage.RELEASING, Stage.SUSPENDING}) | _ENDS,
    Stage.RELEASING: frozenset({Stage.QUEUED, Stage.SUSPENDING}) | _ENDS,
    Stage.SUSPENDING: frozenset({Stage.SUSPENDED}) | _ENDS,
    Stage.COMPLETE: frozenset(),
    Stage.FAILED: frozenset(),
}


def transition(old: Stage, new: Stage) -> Stage:
    """Return ``new`` if the table has the edge (or nothing changes).

    Raises:
        InvalidTransition: the table has no such edge.
    """
    if new is not old and new not in TRANSITIONS[old]:
        raise InvalidTransition(f"a training job cannot go from {old} to {new}")
    return new


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of the gang, and how it ended. ``counted``: against the budget of restarts."""

    number: int
    started_at: float
    ended_at: float | None = None
    reason: str = ""
    message: str = ""
    group: str = ""
    rank: int | None = None
    node: str = ""
    exit_code: int | None = None
    action: Action | None = None
    resumed_from: int | None = None

    @property
    def counted(self) -> bool:
        return self.action in (Action.RESTART, Action.RESTART_AVOID_NODE)


@dataclass(frozen=True, slots=True)
class Goodput:
    """Where the seconds went; together they are the job's wall time less the time it was suspended.

    ``unsaved``: worked since the last checkpoint; it becomes productive with the next one or the end, lost with a
    failure."""

    productive: float = 0.0
    unsaved: float = 0.0
    queued: float = 0.0
    startup: float = 0.0
    lost: float = 0.0
    restart: float = 0.0

    @property
    def wall(self) -> float:
        return self.productive + self.unsaved + self.queued + self.startup + self.lost + self.restart

    @property
    def percent(self) -> int:
        """Share of the wall time that training gained from (what is not saved yet counts as gained)."""
        return int(100 * (self.productive + self.unsaved) / self.wall) if self.wall else 0


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was decided so far; it is kept (in the object's status, in the run store) before anything is done about it.

    ``attempts_of`` holds the attempt that each group is in, ``ranks_of`` that of single ranks which are ahead of their
    group (restart scope Pod). ``done``: ranks that ended well in it. ``begun``: groups whose ranks were asked for.
    ``whole``: with how many ranks a group was seen complete, so that one of those which is missing was lost (before
    that it is simply made again). ``restarts_at``: counted restarts against the budget. ``seen_at``: when the clocks of
    ``goodput`` were read last. ``tries``: how often the gang was released because it was not whole in time;
    ``requeues``: how often it was put back in line, for whatever reason of the queue's, since it was made or resumed.
    ``waiting_since``: None while the job has what it needs. ``given_up``: claims that are taken away before the ranks
    start again. ``void_before``: checkpoints that were saved earlier are not there any more.
    """

    stage: Stage
    since: float
    seen_at: float
    attempt: int = 0
    attempts_of: Mapping[str, int] = field(default_factory=dict[str, int])
    ranks_of: Mapping[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    done: frozenset[tuple[str, int]] = frozenset()
    begun: frozenset[str] = frozenset()
    whole: Mapping[str, int] = field(default_factory=dict[str, int])
    started_at: float | None = None
    waiting_since: float | None = None
    not_before: float = 0.0
    tries: int = 0
    requeues: int = 0
    restarts_at: tuple[float, ...] = ()
    counted: int = 0
    uncounted: int = 0
    attempts: tuple[Attempt, ...] = ()
    avoid_nodes: tuple[str, ...] = ()
    checkpoint: int | None = None
    checkpoint_at: float | None = None
    checkpoint_uri: str = ""
    hung: bool = False
    given_up: tuple[str, ...] = ()
    void_before: float | None = None
    goodput: Goodput = Goodput()
    finished_at: float | None = None
    reason: str = ""
    message: str = ""

    def wanted(self, group: str, rank: int) -> int:
        """The attempt that this rank is in now."""
        return self.ranks_of.get((group, rank), self.attempts_of.get(group, 0))


@dataclass(frozen=True, slots=True)
class Pin:
    """A rank whose claim is on one node alone, and so is the rank. ``gone``: that node is no more. ``leave``: somebody
    allowed to give the claim up, with what it holds."""

    claim: str
    node: str
    gone: bool = False
    leave: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """``admitted``: quota was given (True where there is no queue). ``ledger`` None: a new job."""

    ledger: Ledger | None
    ranks: Mapping[RankKey, RankFact] = field(default_factory=dict[RankKey, RankFact])
    report: Report = Report()
    admitted: bool = True
    #: Ranks that could not be made: why, as the one who refused put it (quota, policy).
    refused: Mapping[RankKey, str] = field(default_factory=dict[RankKey, str])
    #: Why quota that was given is taken back: one word, and more of them.
    evicted: tuple[str, str] = ("Preempted", "the queue took the quota back")
    #: Whether all ranks have to be on one node, for a claim that no two nodes mount.
    one_node: bool = False
    #: Ranks whose claims are on one node alone, by group and number.
    pins: Mapping[tuple[str, int], Pin] = field(default_factory=dict[tuple[str, int], Pin])


@dataclass(frozen=True, slots=True)
class Start:
    """Make this rank. ``resume_from``: the step of the newest checkpoint that is whole."""

    key: RankKey
    resume_from: int | None = None
    avoid_nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask this rank to save and end (SIGTERM, its grace), then take it away; ``forget``: it has ended, only take it
    away."""

    key: RankKey
    reason: str
    forget: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Take away this claim of the job's; the ranks that had it get another."""

    claim: str


@dataclass(frozen=True, slots=True)
class Remove:
    """The job's time to live is over: take away the job itself."""


Step = Start | Stop | GiveUp | Remove


@dataclass(frozen=True, slots=True)
class Decision:
    """``ledger`` is kept first, then the steps are taken, in any order, any number of times. ``wake_at``: decide again
    at that time, should nothing happen before."""

    ledger: Ledger | None
    steps: tuple[Step, ...] = ()
    wake_at: float | None = None
