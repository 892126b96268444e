"""One ledger of GPUs for tasks and ranks."""

from __future__ import annotations

from typing import Any, cast

from mlplatform.core.model import TaskKey
from mlplatform.engine.admission import Admission
from mlplatform.engine.gpus import Gpus, Within
from mlplatform.engine.prepared import Prepared
from mlplatform.planning.admission import Capacity


class _Driver:
    def __init__(self) -> None:
        self.admitted: list[Prepared] = []

    def admit(self, prepared: Prepared) -> None:
        self.admitted.append(prepared)


def prepared(name: str, gpus: int) -> Prepared:
    return Prepared("run", TaskKey((name,)), 1, cast(Any, None), gpus=gpus)


def test_a_holder_keeps_what_it_has() -> None:
    freed: list[int] = []
    gpus = Gpus((0, 1, 2), lambda: freed.append(1))
    assert gpus.take("a", 2) == (0, 1) == gpus.take("a", 2)
    assert gpus.take("b", 2) == "2 of this machine's 3 GPUs are asked for, 1 are free"
    gpus.free("a")
    gpus.free("a")
    assert freed == [1]
    assert gpus.take("b", 2) == (0, 1)
    gpus.hold("found", [2])
    assert gpus.take("c", 1) == "1 of this machine's 3 GPUs are asked for, 0 are free"


def test_tasks_and_ranks_never_share_one() -> None:
    gpus = Gpus((0, 1, 2, 3))
    admission, driver = Admission(Capacity(8, 2**30, gpus.ids), gpus), _Driver()
    assert gpus.take("job-worker-a1-0", 1) == (0,)
    admission.request(cast(Any, driver), prepared("two", 2))
    admission.request(cast(Any, driver), prepared("three", 2))
    admission.pump()
    assert [one.gpu_ids for one in driver.admitted] == [(1, 2)], "the other one waits: there is one left"
    assert "GPUs (needs 2, 1 of 4 free)" in admission.reasons("run", [TaskKey(("three",))])[TaskKey(("three",))]
    assert gpus.take("job-worker-a1-1", 2) == "2 of this machine's 4 GPUs are asked for, 1 are free"
    gpus.free("job-worker-a1-0")
    admission.pump()
    assert driver.admitted[1].gpu_ids == (0, 3)
    admission.release("run", TaskKey(("two",)))
    assert gpus.take("job-worker-a1-1", 2) == (1, 2)
    admission.forget("run")
    assert gpus.held() == {"job-worker-a1-1": (1, 2)}


def test_ranks_of_a_task_share_what_the_task_was_given() -> None:
    gpus = Gpus((0, 1, 2, 3))
    room = Within(gpus, (1, 3))
    assert (room.take("w-0", 1), room.take("w-1", 1), room.take("w-0", 1)) == ((1,), (3,), (1,))
    assert room.take("w-2", 1) == "1 of the task's 2 GPUs are asked for, 0 are free"
    assert gpus.take("other", 2) == (0, 2)
    room.free("w-0")
    assert room.take("w-2", 1) == (1,)
