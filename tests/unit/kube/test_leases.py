"""Members, shards and their hand-over."""

from __future__ import annotations

from mlplatform.kube.client import Client
from mlplatform.kube.leases import Shards, Timing, preferred, shard_of
from mlplatform.kube.objects import LEASES, Key
from tests.support.kube.fake import FakeServer

TIMING = Timing(renew=5, deadline=15, duration=25)


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


class Replica:
    def __init__(self, fake: FakeServer, name: str, clock: Clock, count: int = 8, wall: float = 0.0) -> None:
        self.gained: list[set[int]] = []
        self.busy: set[int] = set()
        self.shards = Shards(
            Client(fake),
            namespace="default",
            group="test",
            identity=name,
            count=count,
            gained=self.gained.append,
            losing=lambda shards: not shards & self.busy,
            timing=TIMING,
            clock=clock,
            now=lambda: clock() + wall,
        )

    @property
    def owned(self) -> set[int]:
        return set(self.shards.owned)


def test_one_replica_has_everything() -> None:
    fake, clock = FakeServer(), Clock()
    one = Replica(fake, "a", clock)
    one.shards.tick()
    assert one.owned == set(range(8))
    assert one.gained == [set(range(8))]
    assert one.shards.owns(Key("x", "y"))
    fake.requests.clear()
    for _ in range(3):
        clock.at += 5
        one.shards.tick()
    assert [request.method for request in fake.writes()] == ["PATCH"] * 3  # its own Lease and nothing else


def test_two_replicas_share_and_never_both_own() -> None:
    fake, clock = FakeServer(), Clock()
    one, two = Replica(fake, "a", clock), Replica(fake, "b", clock, wall=9999.0)
    one.shards.tick()
    for _ in range(4):
        clock.at += 1
        two.shards.tick()
        assert not one.owned & two.owned
        one.shards.tick()
        assert not one.owned & two.owned
    assert one.owned | two.owned == set(range(8))
    assert one.owned == {n for n in range(8) if preferred(n, ["a", "b"]) == "a"}
    assert 0 < len(two.owned) < 8


def test_a_shard_whose_key_is_worked_on_is_handed_over_afterwards() -> None:
    fake, clock = FakeServer(), Clock()
    one, two = Replica(fake, "a", clock), Replica(fake, "b", clock)
    one.shards.tick()
    moving = {n for n in range(8) if preferred(n, ["a", "b"]) == "b"}
    busy = min(moving)
    one.busy = {busy}
    two.shards.tick()
    one.shards.tick()
    two.shards.tick()
    assert two.owned == moving - {busy}
    assert busy not in one.owned  # nothing new is begun
    key = next(Key("x", str(n)) for n in range(1000) if shard_of(Key("x", str(n)), 8) == busy)
    assert one.shards.may_write(key)  # what is begun is finished
    one.busy = set()
    one.shards.tick()
    two.shards.tick()
    assert two.owned == moving
    assert not one.shards.may_write(key)


def test_a_dead_member_is_noticed_by_the_observers_clock() -> None:
    fake, clock = FakeServer(), Clock()
    one, two = Replica(fake, "a", clock), Replica(fake, "b", clock)
    for _ in range(3):
        one.shards.tick()
        two.shards.tick()
    for _ in range(6):  # a is dead
        clock.at += 4
        two.shards.tick()
    assert two.owned != set(range(8))
    clock.at += 4
    two.shards.tick()
    assert two.owned == set(range(8))
    assert one.owned == set()  # by its own clock it knew before
    one.shards.tick()
    two.shards.tick()
    one.shards.tick()
    assert one.owned | two.owned == set(range(8))
    assert not one.owned & two.owned


def test_who_cannot_renew_gives_up_before_others_may_take() -> None:
    fake, clock = FakeServer(), Clock()
    one = Replica(fake, "a", clock)
    one.shards.tick()
    fake.down = True
    clock.at += 14
    one.shards.tick()
    assert one.owned == set(range(8))
    clock.at += 2
    assert one.owned == set()
    assert not one.shards.may_write(Key("x", "y"))
    one.shards.tick()
    fake.down = False
    one.shards.tick()
    assert one.owned == set(range(8))
    assert one.gained[-1] == set(range(8))  # everything is looked at again


def test_leaving_hands_over_at_once() -> None:
    fake, clock = FakeServer(), Clock()
    one, two = Replica(fake, "a", clock), Replica(fake, "b", clock)
    for _ in range(3):
        one.shards.tick()
        two.shards.tick()
    one.shards.leave()
    two.shards.tick()
    assert two.owned == set(range(8))


def test_one_shard_is_an_election() -> None:
    fake, clock = FakeServer(), Clock()
    replicas = [Replica(fake, name, clock, count=1) for name in "abc"]
    for _ in range(4):
        for replica in replicas:
            replica.shards.tick()
        assert sum(len(replica.owned) for replica in replicas) <= 1
    assert sum(len(replica.owned) for replica in replicas) == 1


def test_leases_of_the_long_dead_are_removed() -> None:
    fake, clock = FakeServer(), Clock()
    one, two = Replica(fake, "a", clock), Replica(fake, "b", clock)
    one.shards.tick()
    two.shards.tick()
    for _ in range(130):
        clock.at += 5
        two.shards.tick()
    names = [lease["metadata"]["name"] for lease in Client(fake).list(LEASES).items]
    assert "test-member-a" not in names
    assert "test-member-b" in names


def test_the_hash_is_the_same_everywhere() -> None:
    assert [shard_of(Key("ns", f"run-{n}"), 8) for n in range(6)] == [6, 0, 3, 7, 1, 3]
    counts = [0] * 8
    for number in range(8000):
        counts[shard_of(Key("ns", f"run-{number}"), 8)] += 1
    assert min(counts) > 850
