"""Containers, in a real Podman: what comes out, what an error says, what is left afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.errors import EnvironmentFailed, InvalidInput
from mlplatform.core.model import TaskKey
from mlplatform.engine.executors.container_command import (
    Bind,
    ContainerRun,
    choose_network,
    container_name,
    covering,
    run_arguments,
    task_binds,
)
from mlplatform.engine.executors.container_engine import Engine, Engines, docker_engine, podman_engine
from mlplatform.engine.executors.container_shim import reason
from mlplatform.engine.executors.containers import ContainerExecutor, container_spec
from mlplatform.engine.executors.processes import ProcessExecutor
from mlplatform.engine.platform_plan import ContainerOptions
from mlplatform.engine.ports import Launch
from mlplatform.launcher.identity import boot_id
from mlplatform.planning.render import RenderedContainer
from mlplatform.planning.resources import Needs
from tests.support.podman import Podman, podman

DOCKER = Engine("docker", "/usr/bin/docker", "28")
ROOTLESS = Engine("podman", "/usr/bin/podman", "5", rootless=True)
KEY = TaskKey(("train",))


@pytest.fixture(scope="module")
def real() -> Podman:
    return podman()


class Bench:
    """Runs one container after another as the engine does."""

    def __init__(self, real: Podman, folder: Path) -> None:
        self.real = real
        self.folder = folder
        self.environ = {**os.environ, **real.env}
        self.count = 0

    def launch(self, *argv: str, image: str = "", needs: Needs | None = None, **spec: Any) -> Launch:
        self.count += 1
        directory = self.folder / "runs" / str(self.count)
        scratch = self.folder / "scratch" / str(self.count)
        artifacts = self.folder / "artifacts" / str(self.count)
        for path in (directory / "outputs", scratch, artifacts):
            path.mkdir(parents=True)
        rendered = RenderedContainer(
            argv[:1], argv[1:], spec.pop("own_env", {}), image or self.real.image, needs or Needs()
        )
        env = {"HOME": "/nowhere", "SHELL_ONLY": "of the submitter", **rendered.env, **spec.pop("secret_env", {})}
        options = spec.pop("options", None)
        names = [name for name in env if name not in ("HOME", "SHELL_ONLY")]
        full: dict[str, Any] = {
            "version": 1,
            "kind": "container",
            "run_id": "r",
            "task": "train",
            "iteration": [],
            "attempt": self.count,
            "cookie": f"{self.folder}:{self.count}",
            "executor_input": {"inputs": {}, "outputs": {"outputFile": str(directory / "outputs" / "file.json")}},
            "cwd": str(scratch),
            "env": env,
            "sys_path": [],
            "scratch": str(scratch),
            "outputs": {
                "parameters": {"out": {"path": str(directory / "outputs" / "out"), "type": "STRING"}},
                "artifacts": {},
            },
            "claim": str(directory / "claim"),
            "result": str(directory / "result.json"),
            "log": str(directory / "task.log"),
            "trace": None,
            "hooks": [],
            "timeout": None,
            "secrets": [],
            "mounts": [],
            "cpus": None,
            "gpus": None,
            "container": container_spec(rendered, "podman", names, options),
            **spec,
        }
        (directory / "spec.json").write_text(json.dumps(full))
        return Launch("r", KEY, self.count, "container", directory, full, grace=5.0)

    def out(self) -> str:
        """Where the next launch's output parameter goes."""
        return str(self.folder / "runs" / str(self.count + 1) / "outputs" / "out")

    def run(self, launch: Launch) -> tuple[Mapping[str, Any], str]:
        """(result, log) of a launch run to its end."""

        async def body() -> None:
            processes = ProcessExecutor(mode="fork")
            executor = ContainerExecutor(processes, "podman", self.environ)
            running = await executor.start(launch)
            await running.wait()
            await executor.close()
            await processes.close()

        asyncio.run(body())
        assert self.real.names() == []
        assert list(Path(launch.spec["scratch"]).glob("*.json")) == []
        log = (launch.directory / "task.log").read_text(errors="replace")
        return json.loads((launch.directory / "result.json").read_bytes()), log


@pytest.fixture
def bench(real: Podman, tmp_path: Path) -> Bench:
    return Bench(real, tmp_path)


# ------------------------------------------------------------------ in a real engine
def test_output_environment_and_log(bench: Bench) -> None:
    script = 'echo "said $WORD"; echo "err" >&2; printf "%s" "$TWO_LINES" > $0; env | sort'
    env = {"WORD": 'a "b" $c', "TWO_LINES": "one\ntwo", "PATH": "/bin:/opt/own"}
    result, log = bench.run(bench.launch("sh", "-c", script, bench.out(), own_env=env))
    assert result["state"] == "SUCCEEDED"
    assert result["parameters"] == {"out": "one\ntwo"}
    assert 'said a "b" $c' in log
    assert "err" in log.splitlines()
    assert "PATH=/bin:/opt/own" in log
    assert "SHELL_ONLY" not in log  # the submitter's own variables stay outside
    assert result["reads"] == []


def test_results_belong_to_the_user(bench: Bench) -> None:
    launch = bench.launch("sh", "-c", "echo x > $0", bench.out())
    bench.run(launch)
    assert (launch.directory / "outputs" / "out").stat().st_uid == os.getuid()


def test_exit_status_is_told(bench: Bench) -> None:
    result, _ = bench.run(bench.launch("sh", "-c", "exit 7"))
    assert (result["state"], result["error"]["code"]) == ("FAILED", "TASK_FAILED")
    assert result["error"]["message"] == "the container ended with exit status 7"


def test_a_missing_command_names_image_and_command(bench: Bench) -> None:
    result, _ = bench.run(bench.launch("no-such-program", "--x"))
    assert result["error"]["message"] == f"no-such-program is not there in the image {bench.real.image}"
    assert "Check the component's command" in result["error"]["hint"]


def test_a_status_like_the_engines_own_is_the_tasks(bench: Bench) -> None:
    result, _ = bench.run(bench.launch("sh", "-c", "exit 125"))
    assert result["error"]["message"] == "the container ended with exit status 125"


def test_an_image_that_is_not_here(bench: Bench) -> None:
    launch = bench.launch("true", image="localhost/no-such-image:1", options=ContainerOptions(pull="Never"))
    result, _ = bench.run(launch)
    assert result["error"]["code"] == "ENVIRONMENT"
    assert "no-such-image" in result["error"]["message"]


def test_out_of_memory(bench: Bench) -> None:
    needs = Needs(memory_limit=64 << 20)
    result, _ = bench.run(bench.launch("tail", "-c", "400m", "/dev/zero", needs=needs))
    assert result["state"] == "FAILED"
    assert result["error"]["code"] == "OUT_OF_MEMORY"
    assert "limit 64 MiB" in result["error"]["message"]


def test_secrets_reach_the_container_and_nothing_else(bench: Bench) -> None:
    secret = "pl4nted secret\nof two lines"
    launch = bench.launch(
        "sh",
        "-c",
        'printf "%s" "$TOKEN" | wc -c > $0; cat /mnt/vault/password | wc -c',
        bench.out(),
        secret_env={"TOKEN": secret},
        secrets=[secret],
        mounts=[{"target": "/mnt/vault", "read_only": True, "files": {"password": secret}}],
    )
    result, log = bench.run(launch)
    assert result["parameters"]["out"].strip() == log.strip() == str(len(secret))
    left = "".join(path.read_text(errors="replace") for path in bench.folder.rglob("*") if path.is_file())
    assert "pl4nted" not in left


def test_volumes(bench: Bench) -> None:
    claim = bench.folder / "claim"
    claim.mkdir()
    (claim / "old").write_text("kept")
    mounts = [
        {"target": "/data", "source": str(claim), "read_only": False},
        {"target": "/seen", "source": str(claim), "read_only": True},
        {"target": "/fresh", "volume": "f", "read_only": False},
        {"target": "/memory", "volume": "m", "memory": True, "size": 65536, "read_only": False},
    ]
    script = "cat /data/old; echo new > /data/new; echo no > /seen/no; touch /fresh/x /memory/x; echo ok > $0"
    result, log = bench.run(bench.launch("sh", "-c", script, bench.out(), mounts=mounts))
    assert result["state"] == "SUCCEEDED", log
    assert "kept" in log
    assert "Read-only file system" in log
    assert sorted(path.name for path in claim.iterdir()) == ["new", "old"]


def test_cancel_stops_and_removes(bench: Bench) -> None:
    launch = bench.launch("sh", "-c", "trap 'echo stopping; exit 3' TERM; echo ready; while true; do sleep 0.1; done")

    async def body() -> float:
        processes = ProcessExecutor(mode="fork")
        executor = ContainerExecutor(processes, "podman", bench.environ)
        running = await executor.start(launch)
        await _line(launch.directory / "task.log", "ready")
        began = asyncio.get_running_loop().time()
        await running.cancel(8.0)
        await running.wait()
        await processes.close()
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(body()) < 8.0
    assert bench.real.names() == []
    assert "stopping" in (launch.directory / "task.log").read_text()


def test_what_a_killed_shim_leaves_is_removed(bench: Bench) -> None:
    launch = bench.launch("sh", "-c", "echo ready; sleep 1000")

    async def body() -> int:
        processes = ProcessExecutor(mode="fork")
        executor = ContainerExecutor(processes, "podman", bench.environ)
        running = await executor.start(launch)
        await _line(launch.directory / "task.log", "ready")
        assert await executor.sweep() == 0  # looked after
        for pid in _tree(running.pid or 0):
            os.kill(pid, signal.SIGKILL)
        await _gone(running.pid or 0)
        swept = await executor.sweep()
        await running.wait()
        await processes.close()
        return swept

    assert asyncio.run(body()) == 1
    assert bench.real.names() == []


def test_digest_of_an_image(bench: Bench) -> None:
    executor = ContainerExecutor(ProcessExecutor(mode="fork"), "podman", bench.environ)
    digest = asyncio.run(executor.image_digest(bench.real.image))
    assert digest == "sha256:" + bench.real.run("image", "inspect", "--format", "{{.Id}}", bench.real.image).strip()


async def _line(path: Path, text: str) -> None:
    while not path.exists() or text not in path.read_text():
        await asyncio.sleep(0.05)


async def _gone(pid: int) -> None:
    while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        await asyncio.sleep(0.02)


def _tree(pid: int) -> list[int]:
    """A process and its children that are no container's."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if "conmon" not in Path(f"/proc/{child}/cmdline").read_text():
                found += _tree(int(child))
    return found


# ------------------------------------------------------------------ pure
def test_no_engine_says_what_to_do(tmp_path: Path) -> None:
    engines = Engines({"PATH": str(tmp_path)})
    with pytest.raises(EnvironmentFailed) as caught:
        engines.find()
    assert "docker is not installed; podman is not installed" in caught.value.message
    assert "--containers subprocess" in caught.value.hint
    with pytest.raises(InvalidInput, match="docker or podman, not in 'lxc'"):
        engines.find("lxc")


def test_an_engine_that_does_not_answer_is_told_in_its_own_words(tmp_path: Path) -> None:
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\necho 'Cannot connect to the daemon' >&2\nexit 1\n")
    client.chmod(0o755)
    with pytest.raises(EnvironmentFailed, match="docker does not answer: Cannot connect to the daemon"):
        Engines({"PATH": f"{tmp_path}:/bin"}).find("docker")


def test_what_engines_say_of_themselves() -> None:
    plain = docker_engine(
        "/d", {"ServerVersion": "27.1", "SecurityOptions": ["name=seccomp"], "OperatingSystem": "Debian"}
    )
    assert (plain.version, plain.rootless, plain.limits) == ("27.1", False, True)
    assert docker_engine("/d", {"ServerVersion": "27.1", "SecurityOptions": ["name=rootless"]}).rootless
    host = {"security": {"rootless": True}, "cgroupVersion": "v1", "cgroupControllers": None}
    assert podman_engine("/p", {"host": host, "version": {"Version": "4.3.1"}}).limits is False
    host |= {"cgroupVersion": "v2", "cgroupControllers": ["cpu", "memory"]}
    assert podman_engine("/p", {"host": host, "version": {}}).limits is True


def test_command_line() -> None:
    run = ContainerRun(
        name="n",
        image="i:1",
        command=["python", "-c"],
        args=["x"],
        env={"B": "secret", "PATH": "/bin"},
        binds=[Bind("/a", "/a"), Bind("/a/b", "/a/b", True), Bind("/c:d", "/e,f", True)],
        labels={"k": "v"},
        cpus=1.5,
        memory=1024,
        shared_memory=2048,
        gpus=[0, 2],
        pull="Always",
    )
    options, rest = run_arguments(run, DOCKER, "1000:1000")
    line = " ".join(options)
    assert rest == ["i:1", "-c", "x"]
    assert options[-2:] == ["--entrypoint", "python"]
    assert "secret" not in line
    assert "--env B --env PATH=/bin" in line
    assert "--volume /a:/a " in line
    assert "/a/b" not in line  # seen through its parent
    assert '--mount type=bind,source=/c:d,"target=/e,f",readonly' in line
    assert '--gpus "device=0,2"' in line
    assert "--memory 1024 --cpus 1.5 --shm-size 2048" in line
    assert "--user 1000:1000" in line
    assert "--pull=always" in line
    options, _ = run_arguments(run, ROOTLESS, "1000:1000")
    assert "--user 0:0" in " ".join(options)
    assert "--device nvidia.com/gpu=0 --device nvidia.com/gpu=2" in " ".join(options)


@pytest.mark.parametrize(
    ("engine", "env", "network", "words"),
    [
        (DOCKER, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5001"}, "host", ""),
        (ROOTLESS, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5001"}, "host", ""),
        (DOCKER, {"MLFLOW_TRACKING_URI": "https://mlflow.example"}, "", ""),
        (DOCKER, {}, "", ""),
        (DOCKER, {"MLPLATFORM_CONTAINER_NETWORK": "mine"}, "mine", ""),
        (
            DOCKER,
            {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5001", "MLPLATFORM_CONTAINER_NETWORK": "bridge"},
            "bridge",
            "MLPLATFORM_CONTAINER_NETWORK=bridge: MLflow at http://127.0.0.1:5001 may not be reachable",
        ),
        (replace(DOCKER, rootless=True), {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5001"}, "", "cannot be reached"),
        (replace(DOCKER, remote=True), {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5001"}, "", "virtual machine"),
    ],
)
def test_a_container_reaches_mlflow_or_its_task_is_told(
    engine: Engine, env: dict[str, str], network: str, words: str
) -> None:
    chosen, note = choose_network(engine, env)
    assert chosen == network
    assert bool(note) is bool(words)
    assert words in note
    line = run_arguments(ContainerRun("n", "i", network=chosen), engine, "0:0")[0]
    assert (["--network", network] == line[line.index("--network") :][:2]) if network else "--network" not in line


def test_covering_keeps_what_differs() -> None:
    binds = [Bind("/a", "/a", True), Bind("/a/w", "/a/w"), Bind("/a/r", "/a/r", True), Bind("/x", "/a/y", True)]
    assert covering([*binds, *binds]) == [binds[0], binds[1], binds[3]]


def test_a_task_sees_its_places_and_inputs() -> None:
    spec = {
        "outputs": {"parameters": {"p": {"path": "/o/p"}}, "artifacts": {"a": {"path": "/s/t/a"}}},
        "scratch": "/tmp/s",
        "executor_input": {
            "inputs": {"artifacts": {"d": {"artifacts": [{"uri": "/in/d"}, {"uri": "gs://b/x"}]}}},
            "outputs": {"outputFile": "/o/file"},
        },
    }
    binds = set(task_binds(spec, ["/w"]))
    assert binds == {Bind(p, p) for p in ("/o", "/s/t", "/tmp/s", "/w")} | {Bind("/in/d", "/in/d", True)}


@pytest.mark.parametrize(
    ("status", "state", "code", "words"),
    [
        (137, {"OOMKilled": True, "StartedAt": "2026"}, "OUT_OF_MEMORY", "ran out of memory"),
        (143, {"StartedAt": "2026"}, "TASK_FAILED", "ended by SIGTERM"),
        (126, {"StartedAt": "0001-01-01T00:00:00Z"}, "TASK_FAILED", "prog cannot be started in the image img"),
        (127, {}, "TASK_FAILED", "prog is not there in the image img"),
        (127, {"StartedAt": "2026"}, "TASK_FAILED", "exit status 127"),
        (125, {}, "ENVIRONMENT", "could not be started: last words"),
        (1, {"StartedAt": "2026"}, "TASK_FAILED", "exit status 1"),
    ],
)
def test_reasons(status: int, state: dict[str, Any], code: str, words: str) -> None:
    told = reason(status, state, {"image": "img", "command": "prog", "memory": None}, "last words")
    assert told is not None
    assert (told["code"], words in told["message"]) == (code, True)


def test_names_and_boot() -> None:
    assert container_name("a") != container_name("b")
    assert len(container_name("a")) == 31
    assert boot_id()
    assert sys.version_info >= (3, 11)
