"""Where reports of progress are taken: who speaks, whether they may, what follows, and how often it is written.

A rank is known by the token that its kubelet gave it: it is bound to the pod, made for this one purpose, and gone with
the pod. So nobody speaks for another job, another rank or an attempt that is over. What ranks say is kept in memory and
written into the job's status every few seconds; a new checkpoint is written before its report is answered. A process
that dies forgets at most those seconds, and no checkpoint that it thanked for.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from mlplatform.apis.codec import decode, encode
from mlplatform.apis.names import PROGRESS_AUDIENCE
from mlplatform.apis.trainingstatus import ProgressStatus, TrainingJobStatus
from mlplatform.controllers.trainingjob.resources import TOKEN_REVIEWS, TRAINING_JOBS
from mlplatform.core.errors import InvalidInput, KubernetesError
from mlplatform.core.values import child
from mlplatform.kube.callers import bound_pod
from mlplatform.kube.client import Client
from mlplatform.kube.errors import Invalid, ObjectNotFound
from mlplatform.kube.objects import PODS, Key, Object, Resource, controller_of, labels_of, uid_of
from mlplatform.planning.training.facts import Ledger, RankKey, Stage
from mlplatform.planning.training.kept import ledger_of
from mlplatform.planning.training.reports import (
    APART,
    Allowance,
    Said,
    gathered,
    kept_seconds,
    spent,
    taken,
    with_checkpoint,
    with_newer,
    without_void,
)
from mlplatform.render.training.names import read_labels

_log = logging.getLogger(__name__)

#: What a report may weigh (bytes).
LARGEST: Final = 65_536
#: Reports a second (and at once) of one rank, and of one address whoever it says it is.
RANK: Final = (2.0, 10.0)
ADDRESS: Final = (20.0, 60.0)
#: What a token that nobody knows costs its address, in reports.
STRANGER: Final = 10.0
#: Questions to the API server about tokens, and writes of progress, a second (and at once).
REVIEWS: Final = (50.0, 300.0)
WRITES: Final = (50.0, 200.0)
#: Seconds that the answer about a token is good for.
WHO_SECONDS: Final = 60.0
_MOST: Final = 50_000
#: Stages in which a rank of the current attempt does what is wanted of it.
_AT_WORK: Final = (Stage.PLACING, Stage.RUNNING, Stage.RESTARTING)

Caches = Callable[[Resource, Key], Object | None]


class Reply(NamedTuple):
    """``retry_after``: seconds."""

    status: int
    body: Mapping[str, Any]
    retry_after: int = 0


@dataclass(frozen=True, slots=True)
class Speaker:
    """The rank that a token is of."""

    namespace: str
    job: str
    job_uid: str
    rank: RankKey


@dataclass(slots=True)
class _Heard:
    """What the ranks of one job said. ``written``: the progress as it was written last."""

    key: Key
    lock: threading.Lock = field(default_factory=threading.Lock)
    said: dict[tuple[str, int], Said] = field(default_factory=dict[tuple[str, int], Said])
    allowed: dict[RankKey, Allowance] = field(default_factory=dict[RankKey, Allowance])
    written: ProgressStatus | None = None
    written_at: float = 0.0
    moved_at: float = 0.0
    news: bool = False

    def kept(self, seen: _Seen) -> ProgressStatus | None:
        """The progress as it is by now: what was seen of it, and what was written since."""
        void = seen.ledger.void_before
        before, written = without_void(seen.status.progress, void), without_void(self.written, void)
        return with_newer(before, written) if written else before

    def forget(self, void: float | None) -> None:
        """What ranks saved earlier is not there any more."""
        if void is not None and any(one.at < void for one in self.said.values()):
            self.said = {place: one for place, one in self.said.items() if one.at >= void}

    def with_checkpoint(self, kept: ProgressStatus | None, shape: _Shape) -> ProgressStatus | None:
        return with_checkpoint(kept, self.said.values(), self.each(shape))

    def each(self, shape: _Shape) -> int:
        """How many ranks save for themselves: all those of the groups that save; 0: one saves for all."""
        if not shape.rank_saves:
            return 0
        groups = {place[0] for place, one in self.said.items() if one.progress.checkpoint_step is not None}
        return sum(shape.replicas.get(name, 0) for name in groups)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What of a job's spec matters here. ``apart``: groups that do not train; ``silence``: its limit on it, in seconds
    (0: none); ``rank_saves``: each rank saves for itself."""

    replicas: Mapping[str, int]
    apart: frozenset[str]
    silence: float
    rank_saves: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """A job as it is by now."""

    uid: str
    status: TrainingJobStatus
    ledger: Ledger
    shape: _Shape


class _Refused(Exception):
    def __init__(self, status: int, message: str, retry_after: int = 0, **more: Any) -> None:
        super().__init__(message)
        self.reply = Reply(status, {"message": message, **more}, retry_after)


class Desk:
    """Threads share one. ``caches``: pods and jobs as they were seen last. ``hurry``: asks that what was decided for a
    job, and waits to be written, is written now."""

    def __init__(
        self,
        client: Client,
        caches: Caches,
        now: Callable[[], float] = time.time,
        hurry: Callable[[Key], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._caches = caches
        self._now = now
        self._hurry = hurry
        self._lock = threading.Lock()
        self._jobs: dict[str, _Heard] = {}
        self._speakers: dict[str, tuple[float, Speaker | None]] = {}
        self._addresses: dict[str, Allowance] = {}
        self._limits: dict[str, Allowance] = {}

    def receive(self, place: Key, token: str, address: str, body: bytes) -> Reply:
        """Take a report for the job ``place`` from somebody at ``address``. Never raises."""
        try:
            return self._receive(place, token, address, body)
        except _Refused as refused:
            return refused.reply
        except InvalidInput as error:
            findings = [{"path": one.path, "message": one.message} for one in error.findings]
            return Reply(422, {"message": error.message, "findings": findings})
        except KubernetesError as error:
            _log.warning("a report of %s could not be kept: %s", place, error)
            return Reply(503, {"message": "the cluster cannot be asked just now"}, 2)

    def flush(self, *, all_of_it: bool = False) -> None:
        """Write what is not written yet and is due; ``all_of_it``: whether it is due or not."""
        for uid, heard in list(self._jobs.items()):
            seen = self._seen(heard.key, uid)
            over = seen is None or seen.ledger.stage.finished
            try:
                with heard.lock:
                    if seen is not None and heard.news and (all_of_it or self._due(heard, over=over)):
                        self._write(heard, seen)
            except KubernetesError as error:
                _log.warning("the progress of %s could not be written: %s", heard.key, error)
            if seen is None or (over and not heard.news):
                with self._lock:
                    self._jobs.pop(uid, None)

    # ------------------------------------------------------------------ one report
    def _receive(self, place: Key, token: str, address: str, body: bytes) -> Reply:
        speaker = self._speaker(token, address)
        if (speaker.namespace, speaker.job) != place:
            raise _Refused(403, "this token is of a rank of another job")
        seen = self._seen(place, speaker.job_uid)
        if seen is None:
            self._hurry(place)  # what it says is kept beside that
            raise _Refused(503, "this job is not known yet", 2)
        if seen.ledger.stage.finished:
            raise _Refused(409, "the job has ended", stop=True)
        heard = self._heard(speaker, seen.status)
        with heard.lock:
            return self._take(speaker.rank, heard, seen, body)

    def _take(self, rank: RankKey, heard: _Heard, seen: _Seen, body: bytes) -> Reply:
        now, ledger, silence = self._now(), seen.ledger, seen.shape.silence
        heard.allowed[rank], enough = spent(heard.allowed.get(rank), now, *RANK)
        if not enough:
            raise _Refused(429, "this rank reports too often", 1)
        report = _read(body)
        place = (rank.group, rank.rank)
        heard.forget(ledger.void_before)
        known = heard.said.get(place)
        if known is not None and known.key.attempt > rank.attempt:
            known = None
        said = taken(known, seen.status.progress, rank, report, now)
        wanted = ledger.wanted(*place)
        if rank.attempt < wanted or ledger.stage not in _AT_WORK:
            return self._last_words(place, heard, seen, said)
        if said is None:
            return _thanks(stop=False, dump=False)
        before, heard.said[place] = heard.said.get(place), said
        kept = heard.kept(seen)
        is_news = heard.with_checkpoint(kept, seen.shape) is not kept
        silent = now - max(heard.moved_at, ledger.since)
        heard.moved_at, heard.news = max(heard.moved_at, said.moved_at), True
        # A rank's last word is worth a write: whoever waits for the job looks at its progress a moment later.
        last = said.progress.percent == 100 and (before is None or before.progress.percent != 100)
        due = last or now - heard.written_at >= kept_seconds(silence)
        if is_news or (due and self._may("writes", WRITES)):
            try:
                self._write(heard, seen)
            except KubernetesError:
                if is_news:  # it will be told again
                    nothing = replace(said.progress, checkpoint_step=None)
                    heard.said[place] = before or replace(said, progress=nothing, saved=())
                    raise
        return _thanks(stop=False, dump=bool(silence) and silent >= 0.8 * silence)

    def _last_words(self, place: tuple[str, int], heard: _Heard, seen: _Seen, said: Said | None) -> Reply:
        """Of a rank that stops. That it has saved is worth knowing; all else is over."""
        if said is None or said.progress.checkpoint_step is None:
            return Reply(200, {"kept": False, "stop": True, "dumpStacks": False})
        heard.said[place] = said
        kept = heard.kept(seen)
        after = heard.with_checkpoint(kept, seen.shape)
        if after is not None and after is not kept:
            self._put(seen.uid, heard, after)
        return Reply(200, {"kept": after is not kept, "stop": True, "dumpStacks": False})

    # ------------------------------------------------------------------ who speaks
    def _speaker(self, token: str, address: str) -> Speaker:
        if not self._may_come(address):
            raise _Refused(429, "too many reports from this address", 5)
        if not token or len(token) > 16_384 or not token.isascii():
            self._may_come(address, STRANGER)
            raise _Refused(401, "a report needs the token of its rank")
        name = hashlib.sha256(token.encode()).hexdigest()  # the token itself is not kept
        now = self._now()
        with self._lock:
            until, speaker = self._speakers.get(name, (0.0, None))
        if now >= until:
            if not self._may("reviews", REVIEWS):
                raise _Refused(503, "too many new tokens at once", 2)
            speaker = self._review(token)
            with self._lock:
                if len(self._speakers) >= _MOST:
                    self._speakers.clear()
                self._speakers[name] = (now + WHO_SECONDS, speaker)
        if speaker is None:
            self._may_come(address, STRANGER)
            raise _Refused(401, "this token is not known, or is over, or is no rank's")
        return speaker

    def _review(self, token: str) -> Speaker | None:
        """Asks the API server. Raises KubernetesError, and _Refused where the pod was not seen yet."""
        asked = {"metadata": {}, "spec": {"token": token, "audiences": [PROGRESS_AUDIENCE]}}
        told = child(self._client.create(TOKEN_REVIEWS, asked), "status")
        if not told.get("authenticated") or PROGRESS_AUDIENCE not in (told.get("audiences") or ()):
            return None
        user = child(told, "user")
        bound = bound_pod(str(user.get("username") or ""), child(user, "extra"))
        if bound is None:
            return None
        namespace = bound.namespace
        pod = self._caches(PODS, Key(namespace, bound.name))
        if pod is None or uid_of(pod) != bound.uid:
            raise _Refused(503, "this rank's pod was not seen yet", 1)
        owner = controller_of(pod)
        rank = read_labels(labels_of(pod))
        if owner is None or rank is None or owner.get("kind") != TRAINING_JOBS.kind:
            return None
        return Speaker(namespace, str(owner["name"]), str(owner["uid"]), rank)

    def _may_come(self, address: str, cost: float = 1.0) -> bool:
        with self._lock:
            if len(self._addresses) >= _MOST:
                self._addresses.clear()
            self._addresses[address], enough = spent(self._addresses.get(address), self._now(), *ADDRESS, cost)
        return enough

    def _may(self, what: str, limit: tuple[float, float]) -> bool:
        with self._lock:
            self._limits[what], enough = spent(self._limits.get(what), self._now(), *limit)
        return enough

    # ------------------------------------------------------------------ what is kept
    def _seen(self, key: Key, uid: str) -> _Seen | None:
        """The job as it was seen last; None: it is gone, or nothing was decided about it yet."""
        body = self._caches(TRAINING_JOBS, key)
        if body is None or uid_of(body) != uid:
            return None
        status = decode(TrainingJobStatus, body.get("status") or {}, "status")
        ledger = ledger_of(status)
        return _Seen(uid, status, ledger, _shape(body)) if ledger is not None else None

    def _heard(self, speaker: Speaker, status: TrainingJobStatus) -> _Heard:
        with self._lock:
            found = self._jobs.get(speaker.job_uid)
            if found is None:
                found = _Heard(Key(speaker.namespace, speaker.job), written=status.progress)
                self._jobs[speaker.job_uid] = found
        return found

    def _due(self, heard: _Heard, *, over: bool) -> bool:
        """``over``: the job has ended, and nothing more will be said."""
        waited = over or self._now() - heard.written_at >= kept_seconds(0)
        return waited and self._may("writes", WRITES)

    def _write(self, heard: _Heard, seen: _Seen) -> None:
        before, ledger, shape = heard.kept(seen), seen.ledger, seen.shape
        heard.said = {
            place: one
            for place, one in heard.said.items()
            if one.key.attempt >= ledger.wanted(*place) and place[1] < shape.replicas.get(place[0], 0)
        }
        working = [one for place, one in heard.said.items() if place not in ledger.done] or list(heard.said.values())
        after = gathered(heard.with_checkpoint(before, shape), working, shape.apart, heard.each(shape))
        if after is not None:
            self._put(seen.uid, heard, after)
        heard.news = False

    def _put(self, uid: str, heard: _Heard, progress: ProgressStatus) -> None:
        """Replaces the progress of that very job. Raises KubernetesError."""
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "add", "path": "/status/progress", "value": encode(progress)},
        ]
        try:
            self._client.patch(TRAINING_JOBS, heard.key, patch, kind="json", subresource="status")
        except (ObjectNotFound, Invalid):
            _log.info("%s is gone, or another one by now: its progress is dropped", heard.key)
        heard.written, heard.written_at = progress, self._now()


def _shape(body: Object) -> _Shape:
    spec = child(body, "spec")
    groups: list[Object] = spec.get("groups") or []
    return _Shape(
        {str(group["name"]): int(group.get("replicas", 1)) for group in groups},
        frozenset(str(group["name"]) for group in groups if group.get("role") in APART),
        float(child(spec, "health").get("progressTimeoutSeconds") or 0),
        child(spec, "checkpoint").get("scope") == "Rank",
    )


def _thanks(*, stop: bool, dump: bool) -> Reply:
    return Reply(200, {"kept": True, "stop": stop, "dumpStacks": dump})


def _read(body: bytes) -> Any:
    if len(body) > LARGEST:
        raise _Refused(413, f"a report has at most {LARGEST} bytes")
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise _Refused(400, "a report is JSON, and its numbers are finite") from None


def _no_number(word: str) -> Any:
    raise ValueError(word)
