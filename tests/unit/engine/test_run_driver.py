"""The run driver on fakes: what is durable before what, retries, cancel, losses, cache, resume."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.model import RunRecord, TaskRecord
from mlplatform.core.states import RunState, TaskState
from mlplatform.engine.admission import Admission
from mlplatform.engine.attempts import Attempts
from mlplatform.engine.caching import ResultCache
from mlplatform.engine.contents import Contents
from mlplatform.engine.core import Core, Ports
from mlplatform.engine.home import Home
from mlplatform.engine.manager import Manager
from mlplatform.engine.ports import Exit, Interpreter, Launch
from mlplatform.engine.prepare import Preparer
from mlplatform.engine.submission import Submission
from mlplatform.planning.admission import Capacity
from tests.support.fakes import (
    Behaviour,
    FakeClock,
    FakeEnvironments,
    FakeExecutor,
    FakeTracker,
    LocalArtifacts,
    MemoryStore,
    fail,
    succeed,
)
from tests.support.pipelines import ADD_ONE, Builder, chain, fan_out


@dataclass(frozen=True)
class Plan:
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Any, ...] = ()
    deadline: float | None = None
    secret_names: tuple[str, ...] = ()
    uncacheable: str = ""
    mask: frozenset[str] = frozenset()
    key_env: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class FakeNotebooks:
    """None of these runs has a notebook."""

    def finished(self, run_id: str) -> None:
        return None


class FakePlatform:
    def resolve(self, driver: object, start: object, setup: object) -> Plan:
        return Plan()

    deadline: float | None = None

    def run_deadline(self, pipeline: object) -> float | None:
        return self.deadline

    def run_notes(self, pipeline: object) -> tuple[str, ...]:
        return ("a wish without effect",)

    def has_workspace(self, pipeline: object) -> bool:
        return False


@dataclass
class Bench:
    """A manager on fakes."""

    home: Home
    behaviour: Behaviour
    capacity: Capacity = field(default_factory=lambda: Capacity(2.0, 2**34))
    store: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.home.prepare()
        self.executor = FakeExecutor(self.behaviour)
        self.tracker = FakeTracker()
        ports = Ports(
            self.store,
            LocalArtifacts(),
            self.tracker,
            FakeEnvironments(),
            {"python": self.executor, "command": self.executor},
        )
        self.core = Core(self.home, ports, FakeClock(), grace=0.1)
        self.core.contents = Contents(ports.artifacts, self.home.artifacts)
        self.core.cache = ResultCache(ports.store, ports.artifacts, self.core.kept)
        self.core.admission = Admission(self.capacity)
        self.core.prepare = Preparer(self.core)
        self.core.attempts = Attempts(self.core)
        self.core.platform = FakePlatform()  # type: ignore[assignment]
        self.core.notebooks = FakeNotebooks()  # type: ignore[assignment]
        self.manager = Manager(self.core)

    async def submit(self, builder: Builder, **kwargs: Any) -> str:
        interpreter = Interpreter("/usr/bin/python3", "", "3.11")
        return await self.manager.submit(Submission(builder.text(), {}, interpreter, "/tmp", {}, **kwargs))

    async def finish(self, run_id: str) -> RunRecord:
        async for _ in self.manager.watch(run_id, 0):
            pass
        return self.store.get_run(run_id)

    def run(self, builder: Builder, **kwargs: Any) -> RunRecord:
        async def go() -> RunRecord:
            return await asyncio.wait_for(self.finish(await self.submit(builder, **kwargs)), 20)

        return asyncio.run(go())

    def records(self, run: RunRecord) -> dict[str, TaskRecord]:
        return {str(record.key): record for record in self.store.tasks(run.run_id)}


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    def make(behaviour: Behaviour = lambda launch: add_one(launch), **kwargs: Any) -> Bench:
        return Bench(Home(tmp_path / "home"), behaviour, **kwargs)

    return make


def add_one(launch: Launch) -> Mapping[str, Any]:
    return succeed(Output=launch.spec["executor_input"]["inputs"]["parameterValues"]["x"] + 1)


def test_a_chain_runs_in_order_and_passes_values(bench: Callable[..., Bench]) -> None:
    b = bench()
    run = b.run(chain(5))
    assert run.state is RunState.SUCCEEDED
    assert run.outputs.parameters == {"last": 5}
    assert [launch.key.name for launch in b.executor.started] == [f"t{i}" for i in range(5)]


def test_nothing_starts_before_it_is_durable(bench: Callable[..., Bench]) -> None:
    seen: list[TaskState] = []

    def behaviour(launch: Launch) -> Mapping[str, Any]:
        (record,) = [r for r in b.store.tasks(launch.run_id) if r.key == launch.key]
        seen.append(record.state)
        return add_one(launch)

    b = bench(behaviour)
    b.run(chain(3))
    assert seen == [TaskState.RUNNING] * 3


def test_the_machine_is_never_overfilled(bench: Callable[..., Bench]) -> None:
    most = 0

    def behaviour(launch: Launch) -> Mapping[str, Any] | None:
        nonlocal most
        running = [r for r in b.store.tasks(launch.run_id) if r.state is TaskState.RUNNING and not r.is_group]
        most = max(most, len(running))
        return add_one(launch)

    b = bench(behaviour, capacity=Capacity(1.5, 2**34))
    assert b.run(fan_out(20)).state is RunState.SUCCEEDED
    assert most == 3  # half a core each


def test_what_a_task_waits_for_is_told(bench: Callable[..., Bench]) -> None:
    told: dict[str, str] = {}

    def behaviour(launch: Launch) -> Mapping[str, Any]:
        for record in b.store.tasks(launch.run_id):
            if record.waiting_for:
                told.setdefault(str(record.key), record.waiting_for)
        return add_one(launch)

    b = bench(behaviour, capacity=Capacity(1.0, 2**34))
    run = b.run(fan_out(3))
    assert run.state is RunState.SUCCEEDED
    assert told == {"for-loop-1/add-one[2]": "cores (needs 0.5, 0 of 1 free)"}
    assert {record.waiting_for for record in b.store.tasks(run.run_id)} == {""}


def test_a_failure_stops_only_what_depends_on_it(bench: Callable[..., Bench]) -> None:
    builder = chain(3)
    builder.task("other", "add-one", constants={"x": 7})
    b = bench(lambda launch: fail() if launch.key.name == "t1" else add_one(launch))
    run = b.run(builder)
    states = {name: record.state for name, record in b.records(run).items()}
    assert run.state is RunState.FAILED
    assert states == {
        "t0": TaskState.SUCCEEDED,
        "t1": TaskState.FAILED,
        "t2": TaskState.SKIPPED,
        "other": TaskState.SUCCEEDED,
    }
    assert b.records(run)["t1"].error.message == "boom"  # type: ignore[union-attr]


def test_retries_count_the_users_failures(bench: Callable[..., Bench]) -> None:
    builder = chain(1)
    builder.tasks["t0"]["retryPolicy"] = {"maxRetryCount": 2, "backoffDuration": "0s"}
    b = bench(lambda launch: fail() if launch.attempt < 3 else add_one(launch))
    run = b.run(builder)
    record = b.records(run)["t0"]
    assert (run.state, record.attempt, record.failures) == (RunState.SUCCEEDED, 3, 2)
    assert sorted((a.attempt, a.state) for a in b.store.attempts(run.run_id)) == [
        (1, TaskState.FAILED),
        (2, TaskState.FAILED),
        (3, TaskState.SUCCEEDED),
    ]


def test_a_lost_attempt_is_not_the_users_failure(bench: Callable[..., Bench]) -> None:
    b = bench(lambda launch: Exit(None, lost=True) if launch.attempt == 1 else add_one(launch))
    run = b.run(chain(1))
    record = b.records(run)["t0"]
    assert (run.state, record.attempt, record.failures) == (RunState.SUCCEEDED, 2, 0)


def test_a_task_that_is_always_lost_ends(bench: Callable[..., Bench]) -> None:
    b = bench(lambda launch: Exit(None, lost=True))
    run = b.run(chain(1))
    assert run.state is RunState.FAILED
    assert len(b.executor.started) == 3


def test_cancel_stops_what_runs_and_what_waits(bench: Callable[..., Bench]) -> None:
    b = bench(lambda launch: None, capacity=Capacity(1.0, 2**34))

    async def go() -> RunRecord:
        run_id = await b.submit(fan_out(6))
        while len(b.executor.running) < 2:
            await asyncio.sleep(0.01)
        await b.manager.cancel(run_id, force=False)
        return await asyncio.wait_for(b.finish(run_id), 10)

    run = asyncio.run(go())
    assert run.state is RunState.CANCELLED
    assert all(handle.cancelled for handle in b.executor.running)
    leaves = [r for r in b.store.tasks(run.run_id) if not r.is_group]
    assert {r.state for r in leaves} == {TaskState.CANCELLED}


def test_a_second_run_is_answered_from_the_cache_and_says_so(bench: Callable[..., Bench]) -> None:
    b = bench()
    first = b.run(chain(3, cache=True))
    second = b.run(chain(3, cache=True))
    assert second.outputs.parameters == first.outputs.parameters == {"last": 3}
    records = b.records(second)
    assert {r.state for r in records.values()} == {TaskState.CACHED}
    assert records["t0"].cached_from == f"{first.run_id}:t0"
    assert len(b.executor.started) == 3


def test_without_the_cache_everything_runs(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.run(chain(2, cache=True))
    b.run(chain(2, cache=True), cache=False)
    assert len(b.executor.started) == 4


def test_the_tracker_hears_of_every_end_before_the_store(bench: Callable[..., Bench]) -> None:
    b = bench()
    run = b.run(chain(2))
    assert b.tracker.told == [
        ("run_started", run.run_id),
        ("task_finished", "t0"),
        ("task_finished", "t1"),
        ("run_finished", "SUCCEEDED"),
    ]


def test_resume_runs_only_what_has_not_succeeded(bench: Callable[..., Bench]) -> None:
    broken = True
    b = bench(lambda launch: fail() if broken and launch.key.name == "t1" else add_one(launch))
    run = b.run(chain(3))
    assert run.state is RunState.FAILED
    broken = False
    b.executor.started.clear()

    async def go() -> RunRecord:
        await b.manager.resume(run.run_id, None, {}, {})
        return await asyncio.wait_for(b.finish(run.run_id), 10)

    again = asyncio.run(go())
    assert (again.run_id, again.state, again.outputs.parameters) == (run.run_id, RunState.SUCCEEDED, {"last": 3})
    assert [launch.key.name for launch in b.executor.started] == ["t1", "t2"]


def test_resume_with_changed_code_survives_a_crash(bench: Callable[..., Bench]) -> None:
    """The service dies right after it took the changed document; a task that is gone does not come back."""
    b = bench(lambda launch: fail() if launch.key.name == "t3" else add_one(launch))
    builder = chain(4)
    builder.task("extra", "add-one", constants={"x": 7})
    run = b.run(builder)
    assert run.state is RunState.FAILED
    changed = chain(4)
    changed.component(
        "add-ten",
        ADD_ONE.replace("+ 1", "+ 10"),
        inputs={"x": "NUMBER_INTEGER"},
        outputs={"Output": "NUMBER_INTEGER"},
        function="add_one",
    )
    changed.tasks["t1"]["componentRef"]["name"] = "comp-add-ten"

    async def die() -> None:
        await b.manager.resume(run.run_id, changed.text(), {}, {})
        await b.manager.close()

    asyncio.run(die())
    found = {str(task.key): task.state for task in b.store.tasks(run.run_id)}
    assert (found["t0"], found["extra"]) == (TaskState.SUCCEEDED, TaskState.SKIPPED)
    after = bench(add_one, store=b.store)

    async def recover() -> RunRecord:
        assert await after.manager.recover() == 1
        return await asyncio.wait_for(after.finish(run.run_id), 10)

    again = asyncio.run(recover())
    assert again.state is RunState.SUCCEEDED
    assert [launch.key.name for launch in after.executor.started] == ["t1", "t2", "t3"]
    kinds = [event.body for event in b.store.events(run_id=run.run_id, limit=1000) if event.kind == "note"]
    assert kinds[1:] == [{"message": "resumed; t1: its code changed; extra is gone"}]


def test_a_crash_repeats_nothing_that_finished(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """The service dies while t1 runs; t1's process had never claimed its attempt."""
    b = bench(lambda launch: None if launch.key.name == "t1" else add_one(launch))

    async def die() -> str:
        run_id = await b.submit(chain(3))
        while len(b.executor.running) < 2:
            await asyncio.sleep(0.01)
        await b.manager.close()
        return run_id

    run_id = asyncio.run(die())
    assert b.store.get_run(run_id).state is RunState.RUNNING
    after = bench(add_one, store=b.store)

    async def recover() -> RunRecord:
        assert await after.manager.recover() == 1
        return await asyncio.wait_for(after.finish(run_id), 10)

    run = asyncio.run(recover())
    assert (run.state, run.outputs.parameters) == (RunState.SUCCEEDED, {"last": 3})
    assert [(launch.key.name, launch.attempt) for launch in after.executor.started] == [("t1", 2), ("t2", 1)]
    assert (b.core.prepare.directory(run_id, after.executor.started[0].key, 1) / "claim").exists()


def test_a_bug_of_ours_ends_the_run_and_says_so(bench: Callable[..., Bench]) -> None:
    def behaviour(launch: Launch) -> Mapping[str, Any]:
        raise ZeroDivisionError("a bug")

    b = bench(behaviour)
    run = b.run(chain(2))
    assert run.state is RunState.FAILED
    assert run.error is not None
    assert run.error.code == "INTERNAL"
    assert "ZeroDivisionError" in run.error.message


def test_a_run_past_its_deadline_is_stopped_and_fails(bench: Callable[..., Bench]) -> None:
    b = bench(lambda launch: None)
    b.core.platform.deadline = 0.2  # type: ignore[attr-defined]
    run = b.run(chain(2))
    assert (run.state, run.error.code if run.error else "") == (RunState.FAILED, "DEADLINE")
    assert [handle.cancelled for handle in b.executor.running] == [True]


def test_wishes_without_effect_are_told(bench: Callable[..., Bench]) -> None:
    b = bench()
    run = b.run(chain(1))
    assert [e.body["message"] for e in b.store.events(run_id=run.run_id) if e.kind == "note"] == [
        "a wish without effect"
    ]


def test_a_cancel_is_heard_while_a_task_is_being_started(bench: Callable[..., Bench]) -> None:
    b = bench(lambda launch: None)
    start = b.executor.start

    async def slowly(launch: Launch) -> Any:
        await b.manager.cancel(launch.run_id, force=False)
        await asyncio.sleep(0.1)
        return await start(launch)

    b.executor.start = slowly  # type: ignore[method-assign]
    run = b.run(chain(2))
    assert run.state is RunState.CANCELLED
    assert [handle.cancelled for handle in b.executor.running] == [True]
