"""``launcher run``: one attempt in its pod, from request to last word."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, Optional

from ..bundle import guest_launcher, kfp_folder, root, user_environment
from ..failures import AttemptFailed, error
from . import guest, message, places, ranks, tracking, transfer, values
from .logs import Pump
from .request import read_request, task_environment

TERMINATED = 143
#: Seconds that a task gets after SIGTERM; the pod has a little longer, to keep what there is.
GRACE = 20.0
#: Shorter secrets are not masked: hiding every "on" would garble logs.
MASKED_FROM = 8
#: The launcher of one machine, as this Python finds it.
_OWN = ("-I", "-m", "mlplatform.launcher") if root() else (guest_launcher(),)


class Stop:
    """What SIGTERM asks for. The task's processes are told, later ended."""

    def __init__(self) -> None:
        self.asked = False
        self.grace = GRACE
        #: What a rank's command ended with; None: this is no rank, or it did not begin.
        self.status: Optional[int] = None
        self.child: Optional[subprocess.Popen[bytes]] = None

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._told)

    def _told(self, number: int, frame: object) -> None:
        self.asked = True
        self.tell(signal.SIGTERM)

    def tell(self, number: int) -> None:
        child = self.child
        if child is None or child.poll() is not None:
            return
        # What ray's driver started has to be there until it has saved.
        alone = number == signal.SIGTERM and os.environ.get("MLP_FRAMEWORK") == "ray"
        for send in (os.kill,) if alone else (os.killpg, os.kill):
            try:
                send(child.pid, number)
            except (ProcessLookupError, PermissionError):
                continue


def run() -> int:
    """Exit status. The termination message is the truth."""
    stop = Stop()
    stop.listen()
    environ = user_environment(os.environ)
    try:
        request = read_request(os.environ)
    except (ValueError, OSError) as problem:
        sys.stderr.write(f"mlplatform: {problem}\n")
        return 2
    transfer.use_store(request.get("store") or {})
    started = time.time()
    result: dict[str, Any]
    try:
        earlier = request.get("reuse")
        changed = transfer.changed(earlier) if earlier else ""
        if earlier and not changed:
            sys.stderr.write(f"mlplatform: the result of {earlier['source']} is reused\n")
            result = _reused(earlier)
        elif request.get("compare"):
            result = {"state": "CHANGED", "finished_at": time.time(), "note": changed}
        else:
            result = _attempt(request, environ, stop, started)
            result["note"] = changed
        if result["state"] == "SUCCEEDED" and not result.get("aside"):
            transfer.keep_outputs(result, request)
            values.keep(result, request)
    except AttemptFailed as problem:
        sys.stderr.write(f"mlplatform: {problem.message}\n")
        result = _failed(problem)
    except OSError as problem:
        sys.stderr.write(f"mlplatform: {problem}\n")
        result = _failed(AttemptFailed("SYSTEM", f"the attempt could not be carried out: {problem}"))
    if stop.asked and result["state"] not in ("SUCCEEDED", "CACHED"):
        result = {"state": "TERMINATED", "finished_at": time.time()}
    try:
        message.leave(message.outline(result, request))
    except OSError as problem:
        sys.stderr.write(f"mlplatform: the result could not be left behind: {problem}\n")
        return 1
    if stop.status:
        return ranks.exit_code(stop.status)
    return {"SUCCEEDED": 0, "CACHED": 0, "TERMINATED": TERMINATED}.get(str(result["state"]), 1)


def _reused(earlier: Mapping[str, Any]) -> dict[str, Any]:
    """The result of an attempt that need not compute."""
    return {
        "state": "CACHED",
        "finished_at": time.time(),
        "parameters": earlier["parameters"],
        "artifacts": earlier["artifacts"],
        "cached": {"source": earlier["source"], "image": earlier["image"]},
    }


def _failed(problem: AttemptFailed) -> dict[str, Any]:
    told = error(problem.code, problem.message, kind=problem.kind, hint=problem.hint)
    return {"state": "FAILED", "error": told, "finished_at": time.time()}


def _attempt(request: dict[str, Any], environ: Mapping[str, str], stop: Stop, started: float) -> dict[str, Any]:
    """result.json of the attempt. Raises AttemptFailed, OSError."""
    asked = tracking.Asked(environ)
    env = ranks.environment(task_environment(environ, places.work("home")))
    for folder in ("home", "attempt", "scratch"):
        os.makedirs(places.work(folder), mode=0o700, exist_ok=True)
    python = request["kind"] in ("python", "notebook")
    argv = [guest.find_python(env), guest_launcher()] if python else [sys.executable, *_OWN]
    if python:
        values.bring(request)
    spec = _spec(request, env)
    if request["kind"] == "notebook":
        argv.append("--notebook-alone")
        transfer.fetch(request["fetch"], frozenset())
    elif python:
        _with_packages(request, spec, argv[0], env)
        env[transfer.STORE_VARIABLE] = json.dumps(request.get("store") or {})
    else:
        transfer.fetch(request.get("fetch") or {}, _without_bytes(request), spec["cwd"])
    _to_log(spec, env, asked.variables())
    if request.get("ranks"):
        return _rank(request, spec, env, stop, argv[0])
    pump = Pump(places.work("attempt", "task.log"), lambda path: transfer.keep_log(path, request))
    spec["log"] = f"/proc/self/fd/{pump.write}"
    spec["env"] = env
    path = _written(spec)
    pump.start()
    if stop.asked:
        return {"state": "TERMINATED"}
    stop.child = subprocess.Popen(
        [*argv, path], env=dict(env) if python else None, pass_fds=[pump.write], stdin=subprocess.DEVNULL
    )
    pump.close_ours()
    transfer.prepare(request)
    status = _wait(stop, pump)
    pump.finish()
    if request["kind"] == "notebook":
        transfer.keep_cells(request)  # also what a task said that failed
    result = _read(spec["result"])
    if result is None:
        raise _no_result(status, argv[0] if python else "", env)
    return result


def _written(spec: Mapping[str, Any]) -> str:
    """The file that says what to do. Raises OSError."""
    path = places.work("attempt", "spec.json")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump(spec, file)
    return path


def _rank(
    request: dict[str, Any], spec: dict[str, Any], env: dict[str, str], stop: Stop, python: str
) -> dict[str, Any]:
    """One rank of the task: what its processes came to. Raises AttemptFailed, OSError."""
    told = request["ranks"]
    ranks.with_library(spec, env, python)
    uris = ranks.log_uris(request, env)

    def keep(path: str) -> None:
        for uri in uris:
            transfer.keep_log(path, {**request, "log_uri": uri})

    spec |= {"results": ranks.folder(), "gpus": None}
    argv = ranks.command(told, env, python, _written(spec))
    neighbours = ranks.Neighbours(env) if spec["peers"] else None
    pump = Pump(places.work("attempt", "task.log"), keep)
    pump.start()
    stop.grace = max(GRACE, float(told["grace"]) - 5.0)  # the pod has the rest, to keep what there is
    if stop.asked:
        return {"state": "TERMINATED"}
    stop.child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=pump.write, stderr=pump.write)
    pump.close_ours()
    stop.status = _wait(stop, pump)
    pump.finish()
    result = ranks.result(stop.status, env)
    if neighbours is not None:
        result["peers"] = neighbours.others(result.get("peers") or [])
    if stop.status and not result.get("exit_code") and (wrong := guest.check_python(python, env)):
        raise AttemptFailed("ENVIRONMENT_FAILED", wrong, "Use a newer image: @ml.training(image=...).")
    return result


def _wait(stop: Stop, pump: Pump) -> int:
    child = stop.child
    if child is None:
        raise AssertionError("there is a child")
    deadline = None
    while True:
        # Its log usually ends with it, and says so at once; waiting for a process means looking now and then.
        try:
            return child.wait(0.5 if pump.ended(0.05) else 0.0)
        except subprocess.TimeoutExpired:
            if not stop.asked:
                continue
            deadline = deadline or time.monotonic() + stop.grace
            if time.monotonic() > deadline:
                stop.tell(signal.SIGKILL)


def _spec(request: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, Any]:
    """What the launcher of one machine is told."""
    scratch = places.work("scratch")
    spec: dict[str, Any] = {
        "version": 1,
        "kind": request["kind"],
        "run_id": request["run_id"],
        "task": request["task"],
        "iteration": request["iteration"],
        "attempt": request["attempt"],
        "cookie": request["cookie"],
        "executor_input": request["executor_input"],
        "cwd": scratch,
        "sys_path": [],
        "scratch": scratch,
        "outputs": request["outputs"],
        "claim": None,
        "result": places.work("attempt", "result.json"),
        "trace": None,
        "trace_ignore": [],
        "hooks": [],
        "timeout": None,
        "secrets": sorted(
            env[name] for name in request.get("secret_env") or () if len(env.get(name) or "") >= MASKED_FROM
        ),
        "mounts": [],
        "cpus": request.get("cpus"),
        "gpus": None,
        "peers": places.work("attempt", "peers") if request.get("watch") else None,
    }
    if request["kind"] == "python":
        told = request["python"]
        kfp = kfp_folder() or os.environ.get("MLPLATFORM_POD_KFP") or None
        spec["python"] = {
            "source": told["source"],
            "function": told["function"],
            "filename": told["filename"],
            "folder": places.work("component"),
            "kfp_path": kfp if told.get("kfp") else None,
        }
        if remote := request.get("remote"):
            command = places.own_command("fetch")
            spec["fetch"] = {"command": command, "folder": places.work("inputs"), "uris": remote}
    elif request["kind"] == "notebook":
        spec |= {"cwd": places.work("notebook"), "notebook": _notebook(request)}
    else:
        spec["command"] = request["command"]
    return spec


def _notebook(request: Mapping[str, Any]) -> dict[str, Any]:
    """The task of a notebook: its cells, what it begins from, and where what it leaves goes (``notebook/alone.py``)."""
    task: dict[str, Any] = request["notebook"]
    given = request["executor_input"]["inputs"]
    artifacts: dict[str, Any] = given.get("artifacts") or {}
    uri = str(artifacts["notebook-state"]["artifacts"][0]["uri"]) if "notebook-state" in artifacts else ""
    values_given: dict[str, Any] = given.get("parameterValues") or {}
    defaults: dict[str, Any] = task.get("defaults") or {}
    return {
        **task,
        "cookie": "notebook",
        "folder": places.work("attempt"),
        "library": places.work("library"),
        "outputs": request["outputs"]["artifacts"]["notebook-cells"]["path"],
        "pointer": places.work("attempt", "pointer.json"),
        "state": request["fetch"].get(uri, uri),
        "history": False,
        # One that equals its default is not set again: after `b = a` they stay one object.
        "values": {
            name: values_given[name]
            for name in task.get("parameters") or ()
            if name in values_given
            and not (name in defaults and json.dumps(defaults[name]) == json.dumps(values_given[name]))
        },
    }


def _with_packages(request: Mapping[str, Any], spec: dict[str, Any], python: str, env: dict[str, str]) -> None:
    packages: list[str] = request["python"].get("packages") or []
    if not packages:
        return
    folder = places.work("packages")
    guest.install_packages(python, env, folder, packages, request["python"].get("pip") or [])
    spec["sys_path"] = [folder]
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, env.get("PYTHONPATH")]))


def _to_log(spec: dict[str, Any], env: dict[str, str], told: Mapping[str, str]) -> None:
    """Let the task log to MLflow as it was told to."""
    if not told:
        return
    env.update(told)
    spec["secrets"] = sorted({*spec["secrets"], *filter(None, [told.get("MLFLOW_TRACKING_TOKEN")])})
    if spec["kind"] == "python" and (hook := tracking.hook()):
        spec["hooks"] = [hook]


def _without_bytes(request: Mapping[str, Any]) -> frozenset[str]:
    """URIs of inputs whose maker wrote nothing there (metrics are metadata alone)."""
    return frozenset(request.get("empty") or ())


def _read(path: str) -> Optional[dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def _no_result(status: int, python: str, env: Mapping[str, str]) -> AttemptFailed:
    if python and (wrong := guest.check_python(python, env)):
        return AttemptFailed("ENVIRONMENT_FAILED", wrong, "Use a newer image: @dsl.component(base_image=...).")
    if status < 0:
        name = signal.Signals(-status).name
        hint = "The usual cause is memory: ask for more, or process less at once." if name == "SIGKILL" else ""
        return AttemptFailed("PROCESS_DIED", f"the task's process was ended by {name}", hint)
    return AttemptFailed("PROCESS_DIED", f"the task's process ended with status {status} and left no result")
