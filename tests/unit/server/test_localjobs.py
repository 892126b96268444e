"""Training jobs of a home as pages read them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.errors import NotFound
from mlplatform.engine.files import read_json, write_json
from mlplatform.engine.home import Home
from mlplatform.engine.training import jobs
from mlplatform.engine.training.places import JobPlace
from mlplatform.planning.training.facts import RankKey
from mlplatform.server.localjobs import LocalJobs

KEY = RankKey("worker", 0, 1)


def body(name: str) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "main", "command": ["true"]}]}}
    groups = [{"name": "worker", "replicas": 1, "template": template}]
    return {"metadata": {"name": name}, "spec": {"framework": "python", "groups": groups}}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.prepare()
    for at, name in enumerate(("digits", "digits-more")):
        jobs.create(made, body(name), {}, 1000.0 + at)
    return made


def test_the_newest_first_and_each_by_its_whole_name(home: Home) -> None:
    found = LocalJobs(home)
    assert [one["metadata"]["name"] for one in found.bodies()] == ["digits-more", "digits"]
    assert found.body("digits")["metadata"]["name"] == "digits"
    for name in ("digits-m", "nobody"):
        with pytest.raises(NotFound):
            found.body(name)


def test_a_mark_changes_when_the_job_does_and_only_then(home: Home) -> None:
    found = LocalJobs(home)
    before = found.marks()
    assert found.marks() == before
    assert set(before) == {"digits", "digits-more"}
    place = JobPlace(home, "digits")
    write_json(place.status, {"phase": "Running"})
    os.utime(place.status, ns=(1, 1))
    after = found.marks()
    assert after["digits"] != before["digits"]
    assert after["digits-more"] == before["digits-more"]
    assert LocalJobs(Home(home.root / "none")).marks() == {}


def test_a_log_has_ended_when_its_rank_has(home: Home) -> None:
    found, place = LocalJobs(home), JobPlace(home, "digits").rank(KEY)
    assert found.log("digits", KEY) == (place.log, True), "there is no such rank"
    place.root.mkdir(parents=True)
    write_json(place.start, {"at": 1000.0, "gpus": [2]})
    place.claim.write_text("{}")
    assert found.log("digits", KEY) == (place.log, False)
    assert [(rank.state, rank.node) for rank in found.ranks("digits")] == [("Running", "GPU 2")]
    write_json(place.exit, {"code": 1, "at": 1003.0})
    assert found.log("digits", KEY) == (place.log, True)
    assert [(rank.state, rank.exit_code) for rank in found.ranks("digits")] == [("Failed", 1)]
    assert read_json(place.exit)["code"] == 1
