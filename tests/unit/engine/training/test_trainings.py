"""The training jobs of a service: what befalls one job does not befall the others, and is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from mlplatform.engine.files import read_json
from mlplatform.engine.gpus import Gpus
from mlplatform.engine.home import Home
from mlplatform.engine.training import driver, jobs, trainings
from mlplatform.engine.training.places import JobPlace
from mlplatform.engine.training.ranks import Here
from mlplatform.engine.training.trainings import Trainings
from mlplatform.launcher.identity import boot_id
from tests.support.kube.training import group, job


class _Core:
    """As much of a service's core as jobs need."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.clock = self

    def now(self) -> float:
        return 1_700_000_000.0

    async def on_files(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.to_thread(function, *args)


def quick(name: str) -> dict[str, Any]:
    body = job(group(replicas=1), name=name)
    body["spec"]["groups"][0]["template"]["spec"]["containers"][0]["command"] = ["true"]
    return body


def test_a_bug_is_told_in_the_status_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    home.prepare()
    for name in ("good", "bad"):
        jobs.create(home, quick(name), {"PATH": "/usr/bin:/bin"}, 1000.0)
    decide, broken = driver.decide, [True]

    def sometimes(spec: Any, *args: Any) -> Any:
        if spec.name == "bad" and broken:
            raise TypeError("a bug of ours")
        return decide(spec, *args)

    monkeypatch.setattr(driver, "decide", sometimes)
    monkeypatch.setattr(trainings, "_TROUBLE", 0.05)

    async def live() -> None:
        service = Trainings(cast(Any, _Core(home)), Here("here", boot_id()), Gpus())
        await service.recover()
        try:
            await until(lambda: status(home, "good").get("phase") == "Complete")
            await until(lambda: trouble(home)["status"] == "True")
            assert "TypeError('a bug of ours')" in trouble(home)["message"]
            broken.clear()
            await until(lambda: status(home, "bad").get("phase") == "Complete")
            assert trouble(home)["status"] == "False"
            await until(lambda: service.active == 0)
        finally:
            await service.close()

    asyncio.run(live())


async def until(what: Callable[[], Any]) -> None:
    async with asyncio.timeout(120):
        while not what():
            await asyncio.sleep(0.02)


def status(home: Home, name: str) -> dict[str, Any]:
    return read_json(JobPlace(home, name).status)


def trouble(home: Home) -> dict[str, Any]:
    found = [one for one in status(home, "bad").get("conditions", ()) if one["type"] == "Trouble"]
    return found[0] if found else {"status": ""}
