"""What ``mlplatform train`` tells of a job while it is watched."""

from __future__ import annotations

from typing import Any

import pytest

from mlplatform.cli.train import ending
from mlplatform.cli.training import _row  # pyright: ignore[reportPrivateUsage]
from mlplatform.core.errors import NotFound


class Silent:
    name = "job"

    def logs(self, *_: object, **__: object) -> str:
        raise NotFound("nobody said anything")


def waiting(words: str, phase: str = "Starting") -> dict[str, Any]:
    placed = {"type": "Placed", "status": "False", "reason": "WaitingForPlaces", "message": words}
    return {"phase": phase, "attempt": 1, "conditions": [placed]}


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda: capsys.readouterr().err.splitlines()


def test_what_a_job_waits_for_is_told_once_when_it_takes_a_while(told: Any) -> None:
    from mlplatform.cli.train import _Teller  # pyright: ignore[reportPrivateUsage]

    now = 0.0
    teller = _Teller(Silent(), quiet=False, clock=lambda: now)
    teller.look(waiting("no place for worker-0"))
    now = 1.0
    teller.look(waiting("no place for worker-0: no GPU"))
    now = 3.5
    teller.look(waiting("no place for worker-0: no GPU"))
    assert told() == ["job: starting"]
    now = 4.5
    for words in ("no place for worker-0: no GPU", "another", "no place for worker-0: no GPU"):
        teller.look(waiting(words))
    assert told() == ["job: starting: no place for worker-0: no GPU"]
    now = 9.0
    teller.look(waiting("no place for worker-0: no GPU"))
    teller.look({"phase": "Running", "attempt": 1})
    assert told() == ["job: running"]


def test_what_it_waits_for_is_shown_and_listed() -> None:
    status = waiting("no place for worker-0: no GPU\n  more")
    assert ending("job", status)[:2] == ["job: starting", "  no place for worker-0: no GPU\n  more"]
    body: dict[str, Any] = {
        "metadata": {"name": "job"},
        "spec": {"framework": "torch", "groups": [{"replicas": 2}]},
        "status": status,
    }
    row = "job           Starting      torch         2 ranks       no place for worker-0: no GPU"
    assert _row(body) == row
    assert _row({**body, "status": {"phase": "Complete"}}) == "job           Complete      torch         2 ranks"
