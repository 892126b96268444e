"""Which process of which rank this is, and what of the task's spec is its own."""

from __future__ import annotations

from typing import Any

import pytest

from mlplatform.launcher.taskrank import rank_of, spec_of_process

SPEC: dict[str, Any] = {
    "cookie": "run:fit:1",
    "claim": "/a/claim",
    "log": "/a/task.log",
    "timeout": 5,
    "scratch": "/tmp/scratch",
    "trace": "/a/trace.bin",
    "trace_ignore": ["/home"],
    "results": "/job/results",
    "outputs": {
        "parameters": {"loss": {"path": "/a/outputs/loss", "type": "NUMBER_DOUBLE"}},
        "artifacts": {"model": {"path": "/art/model", "uri": "/art/model", "type": "system.Model"}},
    },
    "executor_input": {
        "inputs": {"parameterValues": {"rows": 3}},
        "outputs": {
            "outputFile": "/a/outputs/executor_output.json",
            "parameters": {"loss": {"outputFile": "/a/outputs/loss"}},
            "artifacts": {"model": {"artifacts": [{"uri": "/art/model"}]}},
        },
    },
}


@pytest.mark.parametrize(
    ("environ", "rank"),
    [
        ({}, 0),
        ({"MLP_RANK": "3"}, 3),
        ({"MLP_RANK": "1", "RANK": "5"}, 5),
        ({"MLP_RANK": "0", "OMPI_COMM_WORLD_RANK": "2"}, 2),
        ({"RANK": "no number"}, 0),
    ],
)
def test_the_launcher_that_is_nearest_knows_the_rank(environ: dict[str, str], rank: int) -> None:
    assert rank_of(environ) == rank


def test_rank_0_writes_the_tasks_outputs() -> None:
    environ = {"MLP_RANK": "0", "MLP_ATTEMPT": "4", "MLPLATFORM_ATTEMPT": "job/worker-a4-0", "OMP_NUM_THREADS": "2"}
    made = spec_of_process(SPEC, environ)
    assert (made["outputs"], made["executor_input"]) == (SPEC["outputs"], SPEC["executor_input"])
    assert (made["result"], made["trace"]) == ("/job/results/a4-0.json", "/job/results/a4-0.trace")
    assert (made["claim"], made["timeout"], made["cpus"]) == (None, None, 2)
    assert made["cookie"] == "job/worker-a4-0"
    assert made["env"] == environ
    assert "aside" not in made
    assert made["own_exit"]
    assert made["trace_ignore"] == ["/home", "/tmp/scratch"]


def test_other_ranks_get_the_inputs_and_write_where_nobody_looks() -> None:
    made = spec_of_process(SPEC, {"MLP_RANK": "2", "MLP_ATTEMPT": "1"})
    assert made["executor_input"]["inputs"] == SPEC["executor_input"]["inputs"]
    assert made["outputs"] == {"parameters": {}, "artifacts": {}}
    assert made["aside"]
    outputs = made["executor_input"]["outputs"]
    places = [
        outputs["outputFile"],
        outputs["parameters"]["loss"]["outputFile"],
        outputs["artifacts"]["model"]["artifacts"][0]["uri"],
    ]
    assert all(place.startswith("/tmp/scratch/2/outputs/") for place in places)
    assert len(set(places)) == 3
    assert SPEC["executor_input"]["outputs"]["outputFile"] == "/a/outputs/executor_output.json", "nothing is changed"
