"""``launcher run`` as a pod runs it: a request in, the task, a last word out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mlplatform.controllers.pipelinerun.message import Result, read_message

ROOT = Path(__file__).parents[4]


def request(base: Path, command: list[str], **more: Any) -> dict[str, Any]:
    outputs = base / "work" / "outputs"
    return {
        "version": 1,
        "run_id": "r",
        "task": "t",
        "iteration": [],
        "attempt": 1,
        "cookie": "r:t:1",
        "kind": "command",
        "command": command,
        "executor_input": {"inputs": {}, "outputs": {"outputFile": str(outputs / "executor_output.json")}},
        "outputs": {
            "parameters": {"count": {"path": str(outputs / "parameters" / "count"), "type": "NUMBER_INTEGER"}},
            "artifacts": {},
        },
        "log_uri": "",
        **more,
    }


def start(base: Path, body: dict[str, Any], **env: str) -> subprocess.Popen[str]:
    base.mkdir(exist_ok=True)
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "MLPLATFORM_REQUEST": json.dumps(body),
        "MLPLATFORM_POD_BASE": str(base),
        "MLPLATFORM_TERMINATION_LOG": str(base / "termination-log"),
        **env,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "mlplatform.launcher.pod", "run"],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(base: Path, process: subprocess.Popen[str]) -> tuple[Result, str, int]:
    said, _ = process.communicate(timeout=120)
    file = base / "termination-log"
    found = read_message(file.read_text(encoding="ascii")) if file.exists() else None
    assert isinstance(found, Result), said
    return found, said, process.returncode


def shell(script: str, base: Path) -> list[str]:
    return ["sh", "-c", script, str(base / "work" / "outputs" / "parameters" / "count")]


def test_a_command(tmp_path: Path) -> None:
    base = tmp_path / "pod"
    script = 'echo hello $SECRET; echo "$HOME"; printf 3 > "$0"'
    body = request(base, shell(script, base), secret_env=["SECRET"])
    found, said, code = ended(base, start(base, body, SECRET="very-secret-word"))
    assert (found.state, code) == ("SUCCEEDED", 0)
    assert found.values.parameters == {"count": 3}
    assert "hello ***" in said
    assert "very-secret-word" not in said
    assert str(base / "work" / "home") in said, "a user without a home gets one"


def test_a_command_that_fails(tmp_path: Path) -> None:
    base = tmp_path / "pod"
    found, said, code = ended(base, start(base, request(base, shell("echo before; exit 3", base))))
    assert (found.state, code) == ("FAILED", 1)
    assert found.error is not None
    assert "status 3" in found.error.message
    assert "before" in said


def test_a_command_that_is_told_to_stop(tmp_path: Path) -> None:
    base = tmp_path / "pod"
    process = start(base, request(base, shell("echo begun > begun; sleep 600", base)))
    end = time.monotonic() + 60
    while not (base / "work" / "scratch" / "begun").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    found, _, code = ended(base, process)
    assert (found.state, code) == ("TERMINATED", 143)


def test_bytes_without_a_store_are_a_failure_that_says_so(tmp_path: Path) -> None:
    base = tmp_path / "pod"
    here = base / "work" / "outputs" / "artifacts" / "data"
    body = request(base, ["sh", "-c", 'echo x > "$0"', str(here)])
    entry = {"path": str(here), "uri": "nowhere:/t/1/data", "type": "system.Dataset", "metadata": {}}
    body["outputs"] = {"parameters": {}, "artifacts": {"data": entry}}
    found, _, _ = ended(base, start(base, body))
    assert found.error is not None
    assert found.error.code == "NO_STORE"


def test_a_python_component_in_an_image_without_python(tmp_path: Path) -> None:
    base = tmp_path / "pod"
    python = {"source": "def f(): pass", "function": "f", "filename": "f.py", "kfp": True, "packages": [], "pip": []}
    body = request(base, [], kind="python", python=python)
    found, _, _ = ended(base, start(base, body, PATH=str(tmp_path)))
    assert found.error is not None
    assert "the image has no Python" in found.error.message


@pytest.mark.parametrize("text", ["", "{}", '{"version": 9}', "nonsense"])
def test_a_request_of_another_version(tmp_path: Path, text: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MLPLATFORM_REQUEST": text}
    done = subprocess.run(
        [sys.executable, "-m", "mlplatform.launcher.pod", "run"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "mlplatform:" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_earlier_result_that_stands_is_the_result(tmp_path: Path) -> None:
    base = tmp_path / "pod"
    earlier = {"source": "run-a:t", "image": "sha256:1", "parameters": {"count": 5}, "artifacts": {}}
    result, log, code = ended(base, start(base, request(base, shell("exit 9", base), reuse=earlier)))
    assert (result.state, result.values.parameters, code) == ("CACHED", {"count": 5}, 0)
    assert (result.cached_from, result.image) == ("run-a:t", "sha256:1")
    assert "the result of run-a:t is reused" in log


def test_an_earlier_result_that_is_gone_is_made_again(tmp_path: Path) -> None:
    base = tmp_path / "pod"
    gone = {"name": "out", "uri": str(tmp_path / "gone"), "digest": "sha256:2"}
    earlier = {"source": "run-a:t", "image": "", "parameters": {"count": 5}, "artifacts": {"out": [gone]}}
    body = request(base, shell('printf 6 > "$0"', base), reuse=earlier)
    result, _, _ = ended(base, start(base, body))
    assert (result.state, result.values.parameters) == ("SUCCEEDED", {"count": 6})
    assert result.note == "its output 'out' is no longer there"


def test_a_command_that_takes_a_uri_for_a_path(tmp_path: Path) -> None:
    base = tmp_path / "pod"
    uri = "s3://bucket/p/out"
    out = {"path": str(base / "work" / "outputs" / "artifacts" / "out"), "uri": uri, "type": "system.Artifact"}
    outputs = {"parameters": {}, "artifacts": {"out": {**out, "metadata": {}, "list": False}}}
    script = f'mkdir -p "{uri}" && printf hello > "{uri}/0"'
    body = request(base, ["sh", "-c", script], outputs=outputs, store={"endpoint": "http://127.0.0.1:9", "region": "x"})
    _, log, _ = ended(
        base, start(base, body, AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b" * 9, AWS_MAX_ATTEMPTS="1")
    )
    assert (base / "work" / "outputs" / "artifacts" / "out" / "0").read_text() == "hello", log


_TALKS = """
def talk(port: int) -> str:
    import socket
    for host in ("127.0.0.1", "192.0.2.1"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.connect((host, port))
    return "said"
"""


def test_whom_a_python_component_talks_to(tmp_path: Path) -> None:
    base = tmp_path / "pod"
    outputs = base / "work" / "outputs"
    spec = {"parameters": {"Output": {"path": str(outputs / "Output"), "type": "STRING"}}, "artifacts": {}}
    inputs = {"parameterValues": {"port": 7}, "artifacts": {}}
    told = {"outputFile": str(outputs / "executor_output.json"), "parameters": {"Output": {"outputFile": "x"}}}
    python = {"source": _TALKS, "function": "talk", "filename": "talk.py", "kfp": True, "packages": [], "pip": []}
    executor_input = {"inputs": inputs, "outputs": told}
    body = request(base, [], kind="python", python=python, outputs=spec, executor_input=executor_input, watch=True)
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # an image whose Python has kfp
    result, log, _ = ended(base, start(base, body, PATH=programs))
    assert result.state == "SUCCEEDED", log
    assert result.peers == ("192.0.2.1:7",)
