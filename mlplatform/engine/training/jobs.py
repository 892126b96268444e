"""The training jobs of a home, as files: what is there, and what users ask for."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import uuid
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Final

from mlplatform.apis.names import LABEL_RUN, TRAINING_API_VERSION, TRAINING_JOB
from mlplatform.apis.objects import training_job
from mlplatform.apis.times import told_time
from mlplatform.apis.trainingstatus import TrainingJob
from mlplatform.core.errors import Finding, InvalidInput, NotFound
from mlplatform.core.values import child
from mlplatform.engine.files import read_json, write_json
from mlplatform.engine.home import Home
from mlplatform.engine.submission import keep_private
from mlplatform.engine.training.places import JobPlace
from mlplatform.planning.training.facts import RankKey
from mlplatform.planning.training.fitting import misfits
from mlplatform.planning.training.status import ENDED
from mlplatform.planning.training.tracked import run_id as tracked_id

#: As the API has it: a rank's name, made from the job's, is a host name on a cluster.
_NAME: Final = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
_LONGEST: Final = 40


def list_jobs(home: Home) -> list[dict[str, Any]]:
    """Every training job as a TrainingJob object (``metadata``, ``spec``, ``status``), the newest first."""
    try:
        names = os.listdir(home.training)
    except OSError:
        return []
    found = [body for name in names if (body := _body(JobPlace(home, name)))]
    return sorted(found, key=lambda body: str(body["metadata"].get("creationTimestamp")), reverse=True)


def get_job(home: Home, name: str) -> dict[str, Any]:
    """One of them, by its name or the only one whose name begins so. Raises NotFound."""
    if body := _body(JobPlace(home, name)):
        return body
    alike = [body for body in list_jobs(home) if body["metadata"]["name"].startswith(name)] if name else []
    if len(alike) != 1:
        words = f"{len(alike)} training jobs begin with {name!r}" if alike else f"there is no training job {name!r}"
        raise NotFound(words, hint="`mlplatform training list` shows them all.")
    return alike[0]


def private_of(home: Home, run_id: str) -> Path:
    """Where the environment of whoever submitted a run is, or that of a training job, by what tracking calls it."""
    for body in list_jobs(home) if run_id.startswith(tracked_id("")) else ():
        if tracked_id(str(body["metadata"].get("uid"))) == run_id:
            return JobPlace(home, str(body["metadata"]["name"])).private
    return home.private(run_id)


def rank_log(home: Home, name: str, group: str, rank: int, attempt: int) -> Path:
    """The file with all that a rank said in an attempt. (There may be none yet.)"""
    return JobPlace(home, name).rank(RankKey(group, rank, attempt)).log


def ranks(home: Home, name: str) -> list[RankKey]:
    """Every rank of every attempt that has a log."""
    return sorted(key for key, rank in JobPlace(home, name).ranks() if rank.log.exists())


def _body(place: JobPlace) -> dict[str, Any]:
    body = read_json(place.object)
    return {**body, "status": read_json(place.status)} if body.get("metadata") else {}


# ---------------------------------------------------------------------- what users ask for
def create(home: Home, body: Mapping[str, Any], env: Mapping[str, str], now: float) -> TrainingJob:
    """Keep a new job; asked again with the same uid, nothing more.

    Args:
        body: a TrainingJob object. ``metadata.uid`` may be chosen, so that a lost answer can be asked for again.
        env: of whoever submits it, for its ranks.

    Raises:
        InvalidInput: with a finding for everything that cannot be, or there is a job of that name.
    """
    meta: dict[str, Any] = dict(body.get("metadata") or {})
    name, uid = str(meta.get("name") or ""), str(meta.get("uid") or uuid.uuid4())
    if not _NAME.match(name) or len(name) > _LONGEST:
        what = f"must be at most {_LONGEST} lower case letters, digits and dashes, and begin with a letter"
        raise InvalidInput(f"{name!r} is no name of a training job", findings=[Finding("metadata.name", what)])
    meta |= {"name": name, "namespace": meta.get("namespace") or "default", "uid": uid, "generation": 1}
    meta["creationTimestamp"] = told_time(now)
    whole = {"apiVersion": TRAINING_API_VERSION, "kind": TRAINING_JOB, "metadata": meta, "spec": body.get("spec") or {}}
    job = training_job(whole)
    check(job)
    place = JobPlace(home, name)
    with _alone(home):
        there = read_json(place.object)
        if there:
            if there["metadata"].get("uid") == uid:
                return job
            raise InvalidInput(
                f"there is a training job {name!r} already", hint=f"Delete it (`mlplatform training delete {name}`)."
            )
        place.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        # by which nodes of ray know each other: the status and pages tell the uid, so it is none
        token = {"RAY_AUTH_TOKEN": secrets.token_hex(32)} if job.spec.framework == "ray" else {}
        keep_private(place.private, {**env, **token})
        write_json(place.object, whole, durable=True)
    return job


def check(job: TrainingJob) -> None:
    """What the API's own rules would refuse, as far as it would go wrong here. Raises InvalidInput with all of it."""
    findings = list(misfits(job.spec))
    if findings:
        raise InvalidInput(f"training job {job.name!r} cannot be", findings=findings)


def change(home: Home, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Set members of a job's spec: ``suspend``, or ``replicas`` by group.

    Raises:
        NotFound: there is no such job.
        InvalidInput: it has ended, or may not change so.
    """
    with _alone(home):
        body = get_job(home, name)
        status: dict[str, Any] = body.pop("status")
        if str(status.get("phase")) in ENDED:
            raise InvalidInput(f"training job {body['metadata']['name']} has ended ({status['phase']})")
        before = body["spec"]
        body["spec"] = _changed(before, spec)
        if body["spec"] != before:
            body["metadata"]["generation"] = int(body["metadata"].get("generation") or 1) + 1
            check(training_job(body))
            write_json(JobPlace(home, body["metadata"]["name"]).object, body, durable=True)
        return {**body, "status": status}


def _changed(before: Mapping[str, Any], wished: Mapping[str, Any]) -> dict[str, Any]:
    after = {**before}
    if "suspend" in wished:
        after["suspend"] = bool(wished["suspend"])
    replicas: Mapping[str, Any] = wished.get("replicas") or {}
    groups = [dict(group) for group in before["groups"]]
    for name, count in replicas.items():
        group = next((one for one in groups if one["name"] == name), None)
        if group is None:
            raise InvalidInput(f"there is no group {name!r}", findings=[Finding("replicas", f"no group {name!r}")])
        if not group.get("elastic") and not before.get("suspend"):
            raise InvalidInput(
                f"group {name!r} is not elastic: its size can be changed only while the job is suspended",
                hint="Suspend the job first, or create it with `elastic=(least, most)`.",
            )
        group["replicas"] = int(count)
    return {**after, "groups": groups}


def delete(home: Home, name: str, now: float) -> str:
    """Have a job go away, when its ranks have ended; its whole name. Raises NotFound."""
    with _alone(home):
        body = get_job(home, name)
        body.pop("status")
        if "deletionTimestamp" not in body["metadata"]:
            body["metadata"]["deletionTimestamp"] = told_time(now)
            write_json(JobPlace(home, body["metadata"]["name"]).object, body, durable=True)
        return str(body["metadata"]["name"])


def forget_run(home: Home, run_id: str) -> None:
    """The jobs that tasks of a run were, with their checkpoints: the run is gone, and none of them lives."""
    for body in list_jobs(home):
        if child(body["metadata"], "labels").get(LABEL_RUN) != run_id:
            continue
        place = JobPlace(home, str(body["metadata"]["name"]))
        for claim in place.own_claims(training_job({**body, "status": {}}).spec):
            shutil.rmtree(claim, ignore_errors=True)
        place.private.unlink(missing_ok=True)
        shutil.rmtree(place.root, ignore_errors=True)


@contextlib.contextmanager
def _alone(home: Home) -> Generator[None]:
    """One change at a time, whoever makes it."""
    home.training.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home.training / ".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
