"""Which replica looks at which keys: members, shards, and their hand-over.

Every replica renews one Lease of its own: it is a *member* while it does. Keys fall into a fixed number of *shards* by
a hash of their name; each shard has a Lease that names the member who owns it, written only when that changes. Who
should own a shard is decided by rendezvous hashing over the members, so everybody knows it without asking and a member
more or less moves only its part. One shard is leader election.

A member that should not own a shard any more first finishes the keys that it is working on, then writes the Lease
empty, and the other takes it: no key is ever in two hands. A member that dies is noticed when its Lease has not changed
for ``duration`` seconds of the *observer's* clock, so wrong clocks do no harm; and a member that cannot renew gives up
its shards by its own clock before anybody else may take them.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mlplatform.core.errors import KubernetesError
from mlplatform.kube.client import Client
from mlplatform.kube.errors import AlreadyExists, Conflict, ObjectNotFound
from mlplatform.kube.objects import LEASES, Key, Object, key_of, metadata, uid_of, version_of
from mlplatform.kube.times import micro_timestamp

_log = logging.getLogger(__name__)

GROUP_LABEL: Final = "mlplatform.dev/lease-group"
_KIND_LABEL: Final = "mlplatform.dev/lease-kind"
#: The Lease of a member that died is removed after so long (seconds).
_FORGOTTEN: Final = 600.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. A member renews every ``renew``, gives up after ``deadline``, is taken for dead after ``duration``."""

    renew: float = 5.0
    deadline: float = 15.0
    duration: float = 25.0


def shard_of(key: Key, shards: int) -> int:
    """The shard of a key: always the same, in every process."""
    return int.from_bytes(hashlib.sha256(f"{key.namespace}/{key.name}".encode()).digest()[:8], "big") % shards


def preferred(shard: int, members: list[str]) -> str:
    """Who of the members should own the shard (rendezvous hashing). Empty without members."""
    return max(members, key=lambda one: hashlib.sha256(f"{shard}/{one}".encode()).digest(), default="")


@dataclass(slots=True)
class _Seen:
    """A member's Lease as last read: what it said, and when (our clock) that changed."""

    text: str
    at: float


class Shards:
    """One replica's part of the keys.

    ``gained(shards)`` and ``losing(shards)`` are called from :meth:`tick`'s thread: the first after they are ours, the
    second before they are given up, and it returns False while a key of theirs is still worked on. ``clock`` is
    monotonic; ``now`` is what is written for people to read.
    """

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        group: str,
        identity: str,
        count: int,
        gained: Callable[[set[int]], None],
        losing: Callable[[set[int]], bool],
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._group = group
        self.identity = identity
        self.count = count
        self._gained = gained
        self._losing = losing
        self._timing = timing or Timing()
        self._clock = clock
        self._now = now
        self._seen: dict[str, _Seen] = {}
        self._renewed_at: float | None = None
        self._owned: frozenset[int] = frozenset()
        self._leaving: frozenset[int] = frozenset()
        self._stopping = threading.Event()
        self.trouble = ""

    @property
    def owned(self) -> frozenset[int]:
        """Shards whose keys are ours now; none when our Lease has not been renewed in time."""
        return self._owned - self._leaving if self._valid() else frozenset()

    def owns(self, key: Key) -> bool:
        """May this process begin to work on the key?"""
        return shard_of(key, self.count) in self.owned

    def may_write(self, key: Key) -> bool:
        """May this process still write for the key it works on? Asked before each write."""
        return self._valid() and shard_of(key, self.count) in self._owned

    def run(self) -> None:
        """Tick until :meth:`stop`, then give everything back."""
        while not self._stopping.is_set():
            self.tick()
            self._stopping.wait(1.0 if self._leaving else self._timing.renew)

    def stop(self) -> None:
        self._stopping.set()

    def tick(self) -> None:
        """Renew our Lease, see who is there, take and give shards."""
        if self._owned and not self._valid():
            lost, self._owned, self._leaving = self._owned, frozenset(), frozenset()
            _log.warning("lease not renewed for %.0f s: shards %s are given up", self._timing.deadline, sorted(lost))
            self._losing(set(lost))
        try:
            self._renew()
            members, leases = self._look()
            self._balance(members, leases)
            self.trouble = ""
        except KubernetesError as error:
            self.trouble = str(error)
            _log.warning("leases: %s", error)

    def leave(self) -> None:
        """At the end: hand everything over at once. The workers have stopped."""
        try:
            leases = self._look()[1]
            for shard in self._owned:
                self._write(shard, leases.get(shard), "")
            self._owned = frozenset()
            self._client.delete(LEASES, Key(self._namespace, self._member_name(self.identity)))
        except KubernetesError as error:
            _log.info("leaving: %s", error)

    def _valid(self) -> bool:
        return self._renewed_at is not None and self._clock() - self._renewed_at < self._timing.deadline

    def _renew(self) -> None:
        began = self._clock()
        key = Key(self._namespace, self._member_name(self.identity))
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._timing.duration),
            "renewTime": micro_timestamp(self._now()),
        }
        try:
            self._client.patch(LEASES, key, {"spec": spec})
        except ObjectNotFound:
            self._client.create(LEASES, self._lease(key.name, "member", spec))
        self._renewed_at = began

    def _look(self) -> tuple[list[str], dict[int, Object]]:
        """The members that are alive, and the shards' Leases."""
        members: list[str] = []
        leases: dict[int, Object] = {}
        listed = self._client.list(LEASES, self._namespace, labels=f"{GROUP_LABEL}={self._group}").items
        for lease in listed:
            labels = metadata(lease)["labels"]
            spec: dict[str, Any] = lease.get("spec") or {}
            if labels.get(_KIND_LABEL) == "member":
                identity = str(spec.get("holderIdentity") or "")
                if self._alive(identity, f"{spec.get('renewTime')}"):
                    members.append(identity)
                elif self._clock() - self._seen[identity].at > _FORGOTTEN:
                    with contextlib.suppress(ObjectNotFound, Conflict):
                        self._client.delete(LEASES, key_of(lease), uid=uid_of(lease))
            elif labels.get(_KIND_LABEL, "").isdigit():
                leases[int(labels[_KIND_LABEL])] = lease
        return members, leases

    def _alive(self, identity: str, renewed: str) -> bool:
        now = self._clock()
        seen = self._seen.get(identity)
        if seen is None or seen.text != renewed:
            self._seen[identity] = _Seen(renewed, now)
            return True
        return identity == self.identity or now - seen.at < self._timing.duration

    def _balance(self, members: list[str], leases: dict[int, Object]) -> None:
        mine = {shard for shard in range(self.count) if preferred(shard, members) == self.identity}
        held = {shard for shard, lease in leases.items() if _holder(lease) == self.identity}
        taken = {shard for shard in mine - held if self._free(leases.get(shard), members)}
        taken = {shard for shard in taken if self._write(shard, leases.get(shard), self.identity)}
        gained = (taken | held) - self._owned
        self._owned = frozenset(held | taken)
        self._leaving = frozenset(held - mine)
        if gained - self._leaving:
            _log.info("shards %s are ours", sorted(gained - self._leaving))
            self._gained(gained - set(self._leaving))
        for shard in sorted(self._leaving):
            if self._losing({shard}) and self._write(shard, leases.get(shard), ""):
                _log.info("shard %d is handed over", shard)
                self._owned -= {shard}
                self._leaving -= {shard}

    def _free(self, lease: Object | None, members: list[str]) -> bool:
        holder = _holder(lease) if lease else ""
        return not holder or holder not in members

    def _write(self, shard: int, lease: Object | None, holder: str) -> bool:
        """Write who holds a shard, unless somebody else was quicker."""
        name = f"{self._group}-shard-{shard}"
        spec = {"holderIdentity": holder, "acquireTime": micro_timestamp(self._now())}
        try:
            if lease is None:
                self._client.create(LEASES, self._lease(name, str(shard), spec))
            else:
                guard = {"resourceVersion": version_of(lease)}
                self._client.patch(LEASES, Key(self._namespace, name), {"metadata": guard, "spec": spec})
        except (AlreadyExists, Conflict, ObjectNotFound):
            return False
        return True

    def _lease(self, name: str, kind: str, spec: dict[str, Any]) -> Object:
        labels = {GROUP_LABEL: self._group, _KIND_LABEL: kind}
        return {"metadata": {"name": name, "namespace": self._namespace, "labels": labels}, "spec": spec}

    def _member_name(self, identity: str) -> str:
        return f"{self._group}-member-{identity}"


def _holder(lease: Object) -> str:
    spec: dict[str, Any] = lease.get("spec") or {}
    return str(spec.get("holderIdentity") or "")
