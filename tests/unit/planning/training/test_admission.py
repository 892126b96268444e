"""What a Workload says."""

from __future__ import annotations

from typing import Any

from mlplatform.planning.training.admission import condition, read_verdict, readiness, returned


def told(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def workload(*conditions: dict[str, Any], **status: Any) -> dict[str, Any]:
    spec = {"podSets": [{"name": "worker", "count": 4}]}
    return {"metadata": {"generation": 3}, "spec": spec, "status": {"conditions": list(conditions), **status}}


def test_why_it_waits() -> None:
    assert read_verdict(workload(), {}, "q").words == "queue q has not looked at it yet"
    waits = workload(told("QuotaReserved", "False", "Pending", "insufficient quota"))
    assert read_verdict(waits, {}, "q").words == "waits in queue q: insufficient quota"
    checked = workload(told("QuotaReserved", "True"), told("Admitted", "False", "", "not all checks ready"))
    assert read_verdict(checked, {}, "q").words == "waits in queue q: not all checks ready"
    given_up = workload(told("Evicted", "True", "Deactivated", "exceeding the maximum"))
    given_up["spec"]["active"] = False
    words = "queue q gave it up: exceeding the maximum. Suspend the job and resume it to have it tried again."
    assert read_verdict(given_up, {}, "q").words == words


def test_evicted_it_is_not_admitted_whatever_else_is_said() -> None:
    both = workload(
        told("QuotaReserved", "True"), told("Admitted", "True"), told("Evicted", "True", "Preempted", "why")
    )
    verdict = read_verdict(both, {}, "q")
    assert (verdict.admitted, verdict.words, verdict.evicted) == (False, "why", ("Preempted", "why"))


def test_what_flavors_checks_and_topologies_say_of_places() -> None:
    slices = [
        {"domainCount": 1, "valuesPerLevel": [{"universal": "a"}], "podCounts": {"individual": [2]}},
        {"domainCount": 2, "valuesPerLevel": [{"individual": {"roots": ["b", "c"], "suffix": "-x"}}],
         "podCounts": {"universal": 1}},
    ]  # fmt: skip
    one = {
        "name": "worker",
        "flavors": {"cpu": "f", "gpu": "f"},
        "topologyAssignment": {"levels": ["rack"], "slices": slices},
    }
    update = {"name": "worker", "nodeSelector": {"zone": "z"}, "labels": {"l": "1"}, "annotations": {"a": "2"}}
    body = workload(
        told("Admitted", "True"), admission={"podSetAssignments": [one]}, admissionChecks=[{"podSetUpdates": [update]}]
    )
    places = read_verdict(body, {"f": {"spec": {"nodeLabels": {"pool": "p"}}}}, "q").places["worker"]
    assert (places.count, places.node_selector) == (4, {"pool": "p", "zone": "z"})
    assert (places.labels, places.annotations, places.tolerations) == ({"l": "1"}, {"a": "2"}, ())
    assert places.each == ({"rack": "a"}, {"rack": "a"}, {"rack": "b-x"}, {"rack": "c-x"})


def test_quota_given_back_keeps_what_others_said() -> None:
    body = workload(told("QuotaReserved", "True"), told("Evicted", "True", "Preempted", "why"), told("Other", "True"))
    patch = returned(body, "2026-01-01T00:00:00Z")
    assert patch["admission"] is None
    after = {"status": patch}
    found = {one["type"]: one["status"] for one in patch["conditions"]}
    assert found == {
        "Evicted": "True", "Other": "True", "Requeued": "True",
        "QuotaReserved": "False", "Admitted": "False", "PodsReady": "False",
    }  # fmt: skip
    assert (condition(after, "QuotaReserved") or {})["observedGeneration"] == 3


def test_ready_lost_and_ready_again() -> None:
    body = workload()
    seen: list[str] = []
    for ready in (False, True, True, False, False, True):
        patch = readiness(body, ready, "2026-01-01T00:00:00Z")
        if patch is not None:
            body["status"] = patch
        seen.append((condition(body, "PodsReady") or {})["reason"] + ("" if patch else " already"))
    assert seen == [
        "WaitForStart", "Started", "Started already", "WaitForRecovery", "WaitForRecovery already", "Recovered",
    ]  # fmt: skip
