"""Admission: priority, age, no starvation, GPUs by index, requests beyond the machine."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from mlplatform.core.model import TaskKey
from mlplatform.planning.admission import AGEING, Capacity, Request, admit, shortages

GIB = 2.0**30
MACHINE = Capacity(4.0, 8 * GIB, (0, 1))


def request(name: str, cores: float = 1.0, order: int = 0, **more: float) -> Request:
    return replace(Request(("run", TaskKey((name,))), cores, order=order), **more)  # type: ignore[arg-type]


def names(grants: object) -> list[str]:
    return [grant.request.key[1].name for grant in grants]  # type: ignore[attr-defined]


def test_priority_then_age() -> None:
    ready = [request("b", order=2), request("a", order=1), request("urgent", order=3, priority=1)]
    assert names(admit(ready, [], MACHINE)) == ["urgent", "a", "b"]
    assert names(admit(ready, [request("r", 3.0)], MACHINE)) == ["urgent"]
    assert admit(ready, [request("r", 4.0)], MACHINE) == ()
    assert admit([], [], MACHINE) == ()


def test_a_large_task_is_not_overtaken_for_what_it_needs() -> None:
    ready = [request("large", 4.0, 1), request("small", 1.0, 2)]
    assert names(admit(ready, [request("r", 1.0)], MACHINE)) == []
    assert names(admit(ready, [], MACHINE)) == ["large"]


def test_a_task_that_waits_for_a_gpu_lets_others_use_the_cores() -> None:
    held = request("r", 1.0, gpus=2, gpu_ids=(0, 1))
    ready = [request("gpu", 1.0, 1, gpus=1), request("cpu", 1.0, 2), request("gpu-2", 1.0, 3, gpus=1)]
    assert names(admit(ready, [held], MACHINE)) == ["cpu"]
    one_free = replace(held, gpus=1, gpu_ids=(0,))
    ready = [request("two", 1.0, 1, gpus=2), request("one", 1.0, 2, gpus=1), request("cpu", 1.0, 3)]
    assert names(admit(ready, [one_free], MACHINE)) == ["cpu"]


def test_gpus_are_given_by_index() -> None:
    ready = [request("a", 1.0, 1, gpus=1), request("b", 1.0, 2, gpus=1), request("c", 1.0, 3)]
    grants = admit(ready, [], MACHINE)
    assert [grant.gpu_ids for grant in grants] == [(0,), (1,), ()]
    held = request("r", 1.0, gpus=1, gpu_ids=(0,))
    assert [grant.gpu_ids for grant in admit(ready[:1], [held], MACHINE)] == [(1,)]


def test_what_a_task_waits_for_is_told_with_figures() -> None:
    running = [request("r", 3.0, memory=6 * GIB, gpus=1, gpu_ids=(1,))]
    waiting = [
        request("c", 2.0),
        request("m", 1.0, memory=3.5 * GIB),
        request("g", 2.0, gpus=2),
        request("huge", 64.0),
        request("next", 0.5),
    ]
    assert shortages(waiting, running, MACHINE) == [
        "cores (needs 2, 1 of 4 free)",
        "memory (needs 3.5, 2 of 8 GiB free)",
        "cores (needs 2, 1 of 4 free), GPUs (needs 2, 1 of 2 free)",
        "cores (needs 4, 1 of 4 free)",
        "its turn: what is free is kept for tasks in front of it",
    ]


def test_requests_beyond_the_machine_run_alone_with_a_note() -> None:
    huge = request("huge", 64.0, 1, memory=512 * GIB, gpus=8)
    (grant,) = admit([huge, request("next", 1.0, 2)], [], MACHINE)
    assert grant.gpu_ids == (0, 1)
    assert grant.notes == (
        "asked for 64 cores, this machine has 4",
        "asked for 512.0 GiB of memory, this machine has 8.0",
        "asked for 8 GPUs, this machine has 2",
    )
    assert names(admit([huge], [request("r", 0.5)], MACHINE)) == []
    (grant,) = admit([request("gpu", 1.0, 1, gpus=1)], [], Capacity(1.0, GIB))
    assert grant.gpu_ids == ()
    assert grant.notes == ("asked for 1 GPUs, this machine has 0",)


def test_tasks_that_do_not_say_share_the_cores() -> None:
    ready = [request(f"t{n}", 0.0, n) for n in range(20)]
    assert len(admit(ready, [], Capacity(4.0, GIB))) == 8
    assert len(admit(ready, [], Capacity(1.0, GIB))) == 2
    assert len(admit(ready, [], Capacity(0.5, GIB))) == 2


def test_age_beats_priority_in_the_end() -> None:
    old, urgent = request("old", 4.0, 1), request("urgent", 4.0, AGEING, priority=1)
    assert names(admit([old, urgent], [], MACHINE)) == ["urgent"]
    assert names(admit([old, replace(urgent, order=2 * AGEING + 1)], [], MACHINE)) == ["old"]


requests = st.builds(
    lambda cores, memory, gpus, priority: Request(("r", TaskKey(("x",))), cores, memory * GIB, gpus, priority),
    st.sampled_from([0.0, 0.5, 1.0, 2.0, 9.0]),
    st.sampled_from([0.0, 1.0, 6.0, 100.0]),
    st.integers(0, 3),
    st.integers(0, 2),
)


@settings(deadline=None)
@given(st.lists(requests, max_size=30), st.randoms())
def test_everything_runs_and_nothing_is_given_twice(made: list[Request], chance: object) -> None:
    ready = [replace(item, key=("r", TaskKey((str(n),))), order=n) for n, item in enumerate(made)]
    running: list[Request] = []
    steps = 0
    while ready or running:
        steps += 1
        assert steps < 200
        grants = admit(ready, running, MACHINE)
        assert grants or running, "an idle machine starts something"
        started = {grant.request.key for grant in grants}
        ready = [item for item in ready if item.key not in started]
        running += [replace(grant.request, gpu_ids=grant.gpu_ids) for grant in grants]
        held = [gpu for item in running for gpu in item.gpu_ids or ()]
        assert len(held) == len(set(held))
        assert sum(min(item.cores or 0.5, 4.0) for item in running) <= 4.0 + 1e-6
        assert sum(min(item.memory, 8 * GIB) for item in running) <= 8 * GIB + 1e-6
        running.pop(chance.randrange(len(running)))  # type: ignore[attr-defined]
