"""What the client makes of a service's answers, and of a service that goes away."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from mlplatform.core.errors import (
    Finding,
    InternalError,
    InvalidParameters,
    InvalidPipeline,
    MlPlatformError,
    NotFound,
    ServiceError,
    TaskFailed,
    Unsupported,
    error_classes,
)
from mlplatform.engine.home import Home
from mlplatform.sdk import client as client_module
from mlplatform.sdk import starting
from mlplatform.sdk.client import LocalClient, error_from_json
from tests.unit.sdk.fake_service import FakeService, Gone


def event(seq: int, state: str = "RUNNING") -> dict[str, Any]:
    return {"seq": seq, "at": 1.0, "kind": "run", "body": {"state": state, "error": None}}


def test_operations_carry_their_arguments(client: LocalClient, service: FakeService) -> None:
    assert client.cancel("r", force=True) == "r"
    assert client.annotate("r", tags={"a": "b"}, note="n") == "r"
    assert client.cache_clear(run_id="r") == 0
    assert client.gc(3.5)["runs"] == []
    assert client.flush_tracking(1.0) is True
    assert service.asked("cancel") == [{"run_id": "r", "force": True}]
    assert service.asked("annotate") == [{"run_id": "r", "tags": {"a": "b"}, "note": "n"}]
    assert service.asked("cache_clear") == [{"run_id": "r", "identity": ""}]
    assert service.asked("gc") == [{"older_than_days": 3.5}]
    assert len(service.asked("hello")) == 1


def test_a_submission_gets_an_id_of_its_own(client: LocalClient, service: FakeService) -> None:
    first, second = client.submit({"document": "x"}), client.submit({"document": "x"})
    assert first != second
    assert [args["run_id"] for args in service.asked("submit")] == [first, second]
    assert client.submit({"document": "x", "run_id": "mine"}) == "mine"


def test_a_lost_answer_is_asked_for_again_under_the_same_id(client: LocalClient, service: FakeService) -> None:
    moods = iter([Gone(), Gone(), None])

    def submit(args: Mapping[str, Any]) -> Any:
        if mood := next(moods):
            raise mood
        return {"run_id": args["run_id"]}

    service.operations["submit"] = submit
    run_id = client.submit({"document": "x"})
    assert [args["run_id"] for args in service.asked("submit")] == [run_id] * 3


def test_a_watcher_goes_on_where_it_was(client: LocalClient, service: FakeService) -> None:
    def watch(args: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        after = args["after"]
        yield event(after + 1)
        yield event(after + 2)
        if after < 4:
            raise Gone

    service.streams["watch"] = watch
    assert [found["seq"] for found in client.watch("r")] == [1, 2, 3, 4, 5, 6]
    assert [args["after"] for args in service.asked("watch")] == [0, 2, 4]


def test_a_service_that_always_goes_away_is_given_up(
    client: LocalClient, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module.time, "sleep", lambda seconds: None)

    def watch(args: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        raise Gone
        yield

    service.streams["watch"] = watch
    with pytest.raises(ServiceError, match="went away each time"):
        list(client.watch("r"))
    assert len(service.asked("watch")) > 3


@pytest.mark.parametrize("cls", [cls for cls in error_classes().values() if cls is not TaskFailed])
def test_errors_come_back_as_they_were(cls: type[MlPlatformError]) -> None:
    error = cls("what happened", hint="what to do", findings=[Finding("a.b", "wrong", "code", "hint")])
    back = error_from_json(error.to_json())
    assert type(back) is cls
    assert back.to_json() == error.to_json()


def test_task_errors_and_unknown_codes() -> None:
    back = error_from_json(TaskFailed("boom", task="t", traceback="tb").to_json())
    assert isinstance(back, TaskFailed)
    assert back.message == "boom"
    assert type(error_from_json({"code": "FROM_THE_FUTURE", "message": "m"})) is MlPlatformError
    assert isinstance(error_from_json({"code": "INTERNAL", "message": "m", "findings": []}), InternalError)


def test_the_services_errors_are_raised(client: LocalClient, service: FakeService) -> None:
    service.operations["submit"] = lambda args: InvalidPipeline("bad", findings=[Finding("p", "m")])
    with pytest.raises(InvalidPipeline) as caught:
        client.submit({})
    assert caught.value.findings == (Finding("p", "m"),)
    service.operations["cancel"] = lambda args: NotFound("no run")
    with pytest.raises(NotFound, match="no run"):
        client.cancel("r")
    service.operations["gc"] = lambda args: InvalidParameters("no")
    with pytest.raises(InvalidParameters):
        client.gc()


def test_a_service_that_does_not_answer(client: LocalClient, service: FakeService) -> None:
    import threading

    never = threading.Event()
    service.operations["why"] = lambda args: never.wait(5)
    client.ensure()
    with pytest.raises(ServiceError, match="did not answer 'why'"):
        client._ask("why", {"run_id": "r", "task": "t"}, timeout=0.05)
    never.set()


def test_an_older_idle_service_is_replaced(home: Home, service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Home] = []
    monkeypatch.setattr(starting, "start", started.append)
    service.version = "0.0.9"
    LocalClient(home).ensure()
    assert len(service.asked("stop")) == 1
    assert started == [home]


@pytest.mark.parametrize(("version", "active"), [("0.0.9", 1), ("99.0", 0), (client_module.__version__, 0)])
def test_a_busy_or_newer_service_is_used(home: Home, service: FakeService, version: str, active: int) -> None:
    service.version, service.active = version, active
    client = LocalClient(home)
    client.ensure()
    client.ensure()
    assert service.asked("stop") == []
    assert len(service.asked("hello")) == 1


@pytest.mark.parametrize(
    ("one", "other", "older"),
    [("0.1.0", "0.2.0", True), ("0.2.0", "0.1.9", False), ("0.10.0", "0.9.0", False), ("1.0", "1.0.1", True),
     ("0.1.0", "0.1.0", False), ("0.1.0+local", "0.1.0", False), ("", "0.1.0", True), ("0.1rc1", "0.1", False)],
)  # fmt: skip
def test_which_version_is_older(one: str, other: str, older: bool) -> None:
    assert client_module._older(one, other) is older


def test_nothing_runs(home: Home) -> None:
    client = LocalClient(home)
    assert client.running() is False
    assert client.status() == {}
    assert client.stop() is None
    assert not home.service_log.exists()


def test_windows_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(Unsupported, match="Windows"):
        LocalClient(home).submit({})
