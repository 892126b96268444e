"""How a pod's end is read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlplatform.apis.names import ANNOTATION_KEY, LABEL_ATTEMPT
from mlplatform.controllers.pipelinerun.message import Result
from mlplatform.controllers.pipelinerun.pods import Lost, read_pod

RUNC = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "


def end_of(**ended: Any) -> object:
    """What is read of a pod that failed with its container ``terminated`` so."""
    meta = {"name": "p", "namespace": "n", "uid": "u", "labels": {LABEL_ATTEMPT: "1"}}
    meta["annotations"] = {ANNOTATION_KEY: json.dumps([["task"], []])}
    state = {"name": "main", "state": {"terminated": ended}}
    seen = read_pod({"metadata": meta, "spec": {}, "status": {"phase": "Failed", "containerStatuses": [state]}})
    assert seen is not None
    return seen.end


@pytest.mark.parametrize(
    "words",
    [
        f"{RUNC}unable to create new parent process: namespace path: lstat /proc/0/ns/ipc: no such file or directory",
        "failed to create containerd task: failed to create shim task: ttrpc: closed",
        "failed to create containerd container: context deadline exceeded",
        f"{RUNC}mkdir /run/work: no space left on device",
    ],
)
def test_a_node_that_cannot_start_a_container_is_not_its_tasks_failure(words: str) -> None:
    end = end_of(exitCode=128, reason="StartError", message=words)
    assert isinstance(end, Lost)
    assert words in end.why


@pytest.mark.parametrize(
    "words",
    [
        f'{RUNC}exec: "work": executable file not found in $PATH',
        f"{RUNC}unable to start container process: error mounting /x: not a directory",
        f"{RUNC}chdir to cwd (/nowhere) set in config.json failed: permission denied",
    ],
)
def test_a_container_that_no_node_could_start_fails_its_task_for_good(words: str) -> None:
    end = end_of(exitCode=128, reason="StartError", message=words)
    assert isinstance(end, Result)
    assert end.error is not None
    assert (end.state, end.error.code, end.retryable) == ("FAILED", "ENVIRONMENT_FAILED", False)
    assert words in end.error.message
