"""A training job that is a task of a pipeline: its object, its name, and what its ranks left.

The job bears one name in all attempts of its task, so that its checkpoints, which are named like the job, are there for
the next one. A new attempt replaces the job of the attempt before, and takes over how far that had come.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mlplatform.apis.names import ANNOTATION_KEY, LABEL_RUN, TRAINING_GROUP
from mlplatform.core.model import TaskKey
from mlplatform.core.values import child
from mlplatform.engine.training.environment import set_here
from mlplatform.launcher import preload
from mlplatform.planning.training.names import task_job
from mlplatform.planning.training.shape import words, working_role

#: The GPUs that admission gave the task.
ANNOTATION_GPUS: Final = f"{TRAINING_GROUP}/gpus"
_NAMESPACE: Final = uuid.UUID("8f0f0f39-54a4-4b0c-8f39-7a4be3f2b3a5")
#: Members of a checkpoint in a job's progress.
_SAVED: Final = ("checkpointStep", "checkpointTime", "checkpointUri")


def is_of_task(body: Mapping[str, Any]) -> bool:
    return LABEL_RUN in child(child(body, "metadata"), "labels")


def gpus_given(body: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The GPUs that a task's job may use; None: it is no task's, or there are none on this machine."""
    told = child(child(body, "metadata"), "annotations").get(ANNOTATION_GPUS)
    return None if told is None else tuple(int(number) for number in str(told).split(",") if number)


def job_object(
    spec: Mapping[str, Any],
    *,
    run_id: str,
    key: TaskKey,
    attempt: int,
    python: str,
    task_file: Path,
    folder: str,
    gpus: Sequence[int] | None,
    timeout: float | None,
) -> dict[str, Any]:
    """The TrainingJob object of an attempt of a task.

    Args:
        spec: of the training, without templates (``planning.training.task``).
        python: the interpreter of its ranks.
        task_file: what each of their processes runs (``launcher.taskrank``).
        folder: where they stand.
        gpus: what they may use; None: this machine has none, and they run without.
        timeout: seconds that they may run.
    """
    name = task_job(run_id, key)
    process = [python, preload.DOOR, "--task-rank", str(task_file)]
    groups: list[dict[str, Any]] = []
    for told in spec["groups"]:
        group: dict[str, Any] = dict(told)
        role = str(group.get("role", "worker"))
        made = words(str(spec["framework"]), role, process, python)
        if role not in ("worker", working_role(str(spec["framework"]))):
            made = process
        container: dict[str, Any] = {"name": "main", "workingDir": folder}
        if made:
            container["command"] = made
        group["template"] = {"spec": {"containers": [container]}}
        if gpus is None and (accelerator := group.pop("accelerator", None)) and "procsPerReplica" not in group:
            # As many processes as with the GPUs that there are not.
            group["procsPerReplica"] = max(1, int(accelerator.get("count", 1)))
        groups.append(group)
    whole: dict[str, Any] = {**spec, "groups": groups}
    if timeout is not None:
        policy = child(whole, "runPolicy")
        limits = [math.ceil(timeout), *filter(None, [policy.get("activeDeadlineSeconds")])]
        whole["runPolicy"] = {**policy, "activeDeadlineSeconds": max(1, min(limits))}
    annotations = {ANNOTATION_KEY: str(key)}
    if gpus is not None:
        annotations[ANNOTATION_GPUS] = ",".join(map(str, gpus))
    meta = {
        "name": name,
        "uid": str(uuid.uuid5(_NAMESPACE, f"{run_id} {key} {attempt}")),
        "labels": {LABEL_RUN: run_id},
        "annotations": annotations,
    }
    return {"metadata": meta, "spec": whole}


def progress_kept(status: Mapping[str, Any]) -> dict[str, Any]:
    """What the job of a later attempt begins with: the checkpoint that there is."""
    progress = child(status, "progress")
    saved = {name: progress[name] for name in _SAVED if progress.get(name) not in (None, "")}
    return {"progress": saved} if "checkpointStep" in saved else {}


# ---------------------------------------------------------------------- what its ranks left
def result_of(folder: Path, status: Mapping[str, Any], gone: str = "") -> dict[str, Any]:
    """result.json of the task, when its job has ended.

    Args:
        folder: where processes left their results.
        status: of the job. gone: why there is no job any more; "": there is one.
    """
    results = _results(folder)
    newest = max((attempt for attempt, _, _ in results), default=0)
    last = [(rank, raw) for attempt, rank, raw in results if attempt == newest]
    if not gone and status.get("phase") == "Complete":
        first = [raw for _, rank, raw in sorted(results, key=lambda one: one[0]) if rank == 0 and _good(raw)]
        if first:
            return _together(first[-1], [raw for _, raw in last], len(status.get("attempts") or ()))
        gone = "its ranks ended well, but rank 0 left no result (os._exit?)"
    failed = sorted((raw for _, raw in last if not _good(raw)), key=lambda raw: raw.get("finished_at") or 0.0)
    error = _error(status, failed[0].get("error") if failed else None, gone)
    return {
        **(failed[0] if failed else {}),
        "version": 1,
        "state": "FAILED",
        "error": error,
        "parameters": {},
        "artifacts": {},
        "exit_code": 1,
    }


def _results(folder: Path) -> list[tuple[int, int, dict[str, Any]]]:
    """(attempt, rank, result.json) of every process that left one."""
    found: list[tuple[int, int, dict[str, Any]]] = []
    for path in sorted(folder.glob("a*-*.json")):
        attempt, _, rank = path.stem[1:].partition("-")
        try:
            found.append((int(attempt), int(rank), json.loads(path.read_bytes())))
        except (OSError, ValueError):
            continue
    return found


def _good(raw: Mapping[str, Any]) -> bool:
    return raw.get("state") == "SUCCEEDED"


def _together(first: Mapping[str, Any], all_: Sequence[Mapping[str, Any]], attempts: int) -> dict[str, Any]:
    """Rank 0's result, with what all processes looked at."""
    made = dict(first)
    reads: dict[str, Any] = {}
    if any(raw.get("reads") is None for raw in all_):
        made["reads"] = None
    else:
        for raw in all_:
            reads |= {json.dumps(read, sort_keys=True): read for read in raw["reads"]}
        made["reads"] = list(reads.values())
    made["writes"] = sorted({path for raw in all_ for path in raw.get("writes") or ()})
    made["sockets"] = sorted({peer for raw in all_ for peer in raw.get("sockets") or () if not _near(peer)})
    env: dict[str, Any] = {}
    for raw in all_:
        env |= child(raw, "env_read")
    made["env_read"] = {name: digest for name, digest in env.items() if not set_here(name)}
    made["untraced"] = next((raw["untraced"] for raw in all_ if raw.get("untraced")), "")
    if attempts > 1:
        made["untraced"] = "its ranks were started again: what those read that were lost is not known"
    made["max_rss"] = sum(int(raw.get("max_rss") or 0) for raw in all_)
    return made


def _near(peer: str) -> bool:
    """Ranks talk to each other over the loopback interface."""
    return peer.startswith(("127.", "[::1]", "/", "@", "0.0.0.0"))  # noqa: S104 - compared, not bound


def _error(status: Mapping[str, Any], told: Any, gone: str) -> dict[str, str]:
    message = gone or str(status.get("message") or status.get("reason") or "its ranks failed")
    error = {"code": "TASK_FAILED", "message": message, "type": "", "traceback": "", "hint": ""}
    if status.get("reason") == "DeadlineExceeded":
        return {
            **error,
            "code": "PROCESS_DIED",
            "message": f"the task ran longer than its limit and was ended: {message}",
        }
    if isinstance(told, Mapping) and not gone:
        return {**error, **{str(name): str(value or "") for name, value in told.items()}}  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
    return error
