"""The work queue: once, one at a time, later and later, never lost."""

from __future__ import annotations

import threading

from mlplatform.kube.queue import BACK_OFF, Queue, RateLimit


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def queue() -> tuple[Queue[str], Clock]:
    clock = Clock()
    return Queue(clock=clock), clock


def test_a_key_is_there_once() -> None:
    keys, _ = queue()
    for _ in range(3):
        keys.add("a")
    keys.add("b")
    assert [keys.get(0), keys.get(0), keys.get(0)] == ["a", "b", None]


def test_what_is_added_meanwhile_comes_again_afterwards() -> None:
    keys, _ = queue()
    keys.add("a")
    assert keys.get(0) == "a"
    keys.add("a")
    keys.add("a")
    assert keys.get(0) is None  # not while somebody works on it
    keys.done("a")
    assert keys.get(0) == "a"
    keys.done("a")
    assert keys.get(0) is None


def test_new_keys_and_others_take_turns() -> None:
    queue = Queue[str](clock=lambda: 0.0)
    for number in range(4):
        queue.add(f"new-{number}", new=True)
    queue.add("new-1")  # it has its place
    queue.add("at work")
    queue.add("at work too", new=False)
    found = [queue.get(0) for _ in range(6)]
    assert found == ["new-0", "at work", "new-1", "at work too", "new-2", "new-3"]
    assert queue.get(0) is None


def test_later_is_later_and_the_earliest_counts() -> None:
    keys, clock = queue()
    keys.add_after("a", 10)
    keys.add_after("a", 5)
    keys.add_after("a", 20)
    assert keys.next_due() == 5
    clock.at += 4.9
    assert keys.get(0) is None
    clock.at += 0.2
    assert keys.get(0) == "a"
    keys.done("a")
    clock.at += 100
    assert keys.get(0) is None


def test_later_may_be_later_than_any_thread_can_wait() -> None:
    keys: Queue[str] = Queue()
    keys.add_after("far", 2.0**63)
    threading.Timer(0.1, keys.add, ["near"]).start()
    assert keys.get() == "near"
    assert (keys.next_due() or 0) > 1e18


def test_failures_wait_twice_as_long_each_time() -> None:
    keys, _ = queue()
    waits = [keys.retry("a") for _ in range(14)]
    assert waits[:4] == [BACK_OFF[0] * 2**n for n in range(4)]
    assert waits[-1] == BACK_OFF[1]
    keys.forget("a")
    assert keys.retry("a") == BACK_OFF[0]
    assert keys.retry("b", at_least=30) == 30


def test_many_failures_come_back_at_a_limited_rate() -> None:
    keys, clock = queue()
    for number in range(150):
        keys.retry(str(number))
    clock.at += 1.0
    first = 0
    while keys.get(0) is not None:
        first += 1
    assert first == 110  # the burst, and ten a second
    clock.at += 10
    while keys.get(0) is not None:
        first += 1
    assert first == 150


def test_closing_wakes_workers() -> None:
    keys: Queue[str] = Queue()
    got: list[str | None] = []
    worker = threading.Thread(target=lambda: got.append(keys.get()))
    worker.start()
    keys.close()
    worker.join(10)
    assert got == [None]


def test_one_key_is_never_in_two_hands() -> None:
    keys: Queue[int] = Queue()
    inside: set[int] = set()
    trouble: list[int] = []
    seen = [0] * 5
    lock = threading.Lock()

    def work() -> None:
        while (key := keys.get(2.0)) is not None:
            with lock:
                if key in inside:
                    trouble.append(key)
                inside.add(key)
            seen[key] += 1
            with lock:
                inside.discard(key)
            keys.done(key)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for number in range(2000):
        keys.add(number % 5)
    while len(keys) or keys.busy:
        pass
    keys.close()
    for worker in workers:
        worker.join(10)
    assert trouble == []
    assert min(seen) >= 1


def test_waiting_for_what_is_worked_on() -> None:
    keys, _ = queue()
    keys.add("a")
    keys.get(0)
    assert keys.wait_idle(lambda key: key == "b", 0)
    assert not keys.wait_idle(lambda key: key == "a", 0)
    keys.done("a")
    assert keys.wait_idle(lambda key: key == "a", 0)


def test_a_bucket_fills_again() -> None:
    clock = Clock()
    limit = RateLimit(2.0, 3, clock)
    assert [limit.take() for _ in range(4)] == [True, True, True, False]
    clock.at += 0.5
    assert [limit.take() for _ in range(2)] == [True, False]
