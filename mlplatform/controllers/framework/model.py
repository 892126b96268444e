"""The words between a controller and the loop that runs it. Pure.

A controller says what it sees (``observe``, from caches only) and what should be (``plan``, pure); the loop writes. In
what order, whatever the plan:

1. ``apply`` (server-side, our field manager), then ``create`` (once; what is there already and is ours is fine);
2. ``status`` (only where it differs, guarded by the resource version that was observed);
3. ``tell`` (statuses of others' objects), ``release`` (our finalizer comes off) and ``delete``.

So what a status says exists, and what is released is recorded. The process may die between any two writes: the next
one observes, plans, and does what is missing. After a key's writes nothing is planned for it until the caches have seen
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from mlplatform.core.errors import KubernetesError
from mlplatform.kube.objects import Key, Object, Resource
from mlplatform.kube.watch import Meta


@dataclass(frozen=True, slots=True)
class Ref:
    """One object. With ``uid``: only that one, not a later one of the same name."""

    resource: Resource
    key: Key
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object. ``grace_period``: seconds its containers get; None: what the pod says; 0: fenced nodes only."""

    ref: Ref
    grace_period: int | None = None


@dataclass(frozen=True, slots=True)
class Tell:
    """Change the status of an object of another kind, as long as it is the ``version`` that was observed. ``status``: a
    merge patch."""

    ref: Ref
    version: str
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventNote:
    """What a user should read under ``kubectl describe``. Repeated ones are counted, too many are dropped."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"
    action: str = "Reconcile"
    #: What it is about; None: the primary object.
    regarding: Ref | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What should happen to one key.

    Objects without ``metadata.namespace`` get the primary's; those without ``metadata.ownerReferences`` become the
    primary's (``[]`` says: nobody's). ``status`` is the whole wanted status, None leaves it alone; a value that is None
    in it is the same as a missing one. ``may_wait``: the status only tells, so it may be written a moment later,
    together with what follows; nothing of the plan needs it to be kept. ``requeue_after``: seconds until the key is
    looked at again, should nothing happen before. ``events`` are told only where this plan wrote something, and not
    while its status waits: planning the same again says nothing, and what is told together is one event.
    """

    apply: Sequence[Object] = ()
    create: Sequence[Object] = ()
    status: Mapping[str, Any] | None = None
    may_wait: bool = False
    tell: Sequence[Tell] = ()
    release: Sequence[Ref] = ()
    delete: Sequence[Delete] = ()
    requeue_after: float | None = None
    events: Sequence[EventNote] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """An object of a plan that the API server will not take as it is: invalid, forbidden (rights, quota, pod security,
    an admission policy), its namespace gone, or its name taken by somebody else's object."""

    body: Object
    error: KubernetesError


@dataclass(frozen=True, slots=True)
class Owned:
    """A kind of object whose changes wake its owner: the primary named by the controller reference, or, with ``label``,
    the one in the same namespace that this label names. ``selector`` narrows what is watched."""

    resource: Resource
    selector: str = ""
    label: str = ""
    #: More ways to find them: index name -> label whose value is the index value.
    indexes: Mapping[str, str] = field(default_factory=dict[str, str])


class Caches(Protocol):
    """What the informers have seen. Objects handed out are copies. Only the kinds a controller names are there."""

    def get(self, resource: Resource, key: Key) -> Object | None: ...

    def owned_by(self, resource: Resource, owner: Mapping[str, Any]) -> list[Object]:
        """The objects whose controller is ``owner`` (by its UID), in the order of their names."""
        ...

    def owned_meta(self, resource: Resource, owner: Mapping[str, Any]) -> list[Meta]:
        """The same objects' metadata alone, which is at hand: whole objects are decoded when they are asked for."""
        ...

    def indexed(self, resource: Resource, index: str, value: str) -> list[Object]:
        """The objects that ``Owned.indexes`` puts under ``value``, in the order of their keys."""
        ...

    def waiting(self, primary: Object) -> Mapping[str, Any] | None:
        """The status that was decided for the primary as it is here, and waits to be written (``Plan.may_wait``)."""
        ...

    def versions(self, resource: Resource, namespace: str) -> dict[str, tuple[str, bool]]:
        """Every object of a namespace: name -> (a text that changes with it, whether it is being deleted)."""
        ...


Seen = TypeVar("Seen")


class Controller(Protocol[Seen]):
    """One controller. ``observe`` reads caches and nothing else; ``plan`` and ``refused`` are pure."""

    @property
    def name(self) -> str:
        """For logs, metrics and events: ``pipelinerun``."""
        ...

    @property
    def resource(self) -> Resource:
        """The primary."""
        ...

    @property
    def owned(self) -> Iterable[Owned]: ...

    @property
    def finalizer(self) -> str:
        """What ``release`` takes off, and what is taken off what a deleted primary leaves behind. Empty: none."""
        ...

    def observe(self, caches: Caches, key: Key) -> Seen | None:
        """Everything a plan needs. None: there is nothing to do (the primary is gone)."""
        ...

    def plan(self, observed: Seen, now: float) -> Plan:
        """What should be. ``now``: seconds since the epoch."""
        ...

    def refused(self, observed: Seen, now: float, refusals: Sequence[Refusal]) -> Plan:
        """The plan again, knowing that the API server refused some of its objects. Called before anything of the first
        plan's status is written; of the new one everything but ``apply`` and ``create`` is used. Without
        ``requeue_after`` the key comes back later and later."""
        ...
