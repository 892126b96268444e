"""The Workload of a job."""

from __future__ import annotations

from typing import Any

from mlplatform.apis.objects import training_job
from mlplatform.render.training.environment import TrainingSettings
from mlplatform.render.training.workload import SHAPE, workload, workload_name
from tests.support.kube.training import group, job


def made(*groups: dict[str, Any], uid: str = "u", levels: frozenset[str] = frozenset(), **spec: Any) -> dict[str, Any]:
    body = job(*groups, queue={"name": "q"}, **spec)
    body["metadata"]["uid"] = uid
    return workload(training_job(body), TrainingSettings(), None, levels)


def test_it_asks_for_what_pods_ask_for_and_says_nothing_else() -> None:
    asked = {"count": 2, "products": ["A100"]}
    body = made(group("head", 1), group("idle", 0), group(replicas=3, accelerator=asked, topology={"key": "rack"}))
    assert [(one["name"], one["count"]) for one in body["spec"]["podSets"]] == [("head", 1), ("worker", 3)]
    spec = body["spec"]["podSets"][1]["template"]["spec"]
    assert spec["containers"] == [
        {"name": "main", "image": "localhost/train:1", "resources": {"limits": {"nvidia.com/gpu": "2"}}}
    ]
    assert list(spec["affinity"]) == ["nodeAffinity"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    assert "topologyRequest" not in body["spec"]["podSets"][1]


def test_topologies_that_kueue_knows_are_its() -> None:
    near = {"key": "rack", "mode": "Preferred"}
    body = made(group(topology=near), levels=frozenset({"rack"}))
    assert body["spec"]["podSets"][0]["topologyRequest"] == {"preferred": "rack"}


def test_one_group_may_vary() -> None:
    elastic = {"min": 1, "max": 4}
    sets = made(group("one", 3, elastic=elastic), group("two", 3, elastic=elastic))["spec"]["podSets"]
    assert [one.get("minCount") for one in sets] == [1, None]


def test_its_shape_does_not_hold_numbers_of_ranks() -> None:
    shapes = {made(group(replicas=count))["metadata"]["annotations"][SHAPE] for count in (1, 2)}
    assert len(shapes) == 1
    other = made(group(accelerator={"count": 1}))["metadata"]["annotations"][SHAPE]
    assert other not in shapes


def test_jobs_of_one_name_have_workloads_of_two() -> None:
    names = {made(uid=uid)["metadata"]["name"] for uid in ("a", "b")}
    assert len(names) == 2
    assert all(name.startswith("trainingjob-job-") for name in names)
    assert workload_name(training_job(job())) not in names
