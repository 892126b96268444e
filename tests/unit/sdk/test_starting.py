"""Starting the real service: one for a home, whatever happens to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlplatform.core.errors import InvalidInput, ServiceError
from mlplatform.engine.home import Home, open_home
from mlplatform.sdk import starting
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.records import read_report
from mlplatform.sdk.submit import Options, build, read_source
from tests.support import pipelines


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("MLPLATFORM_IDLE_SECONDS", "20")
    home = open_home(tmp_path / "h")
    yield home
    LocalClient(home).stop()


def pid_of(home: Home) -> int:
    return int(json.loads(home.service_file.read_text())["pid"])


def test_many_clients_at_once_start_one(home: Home) -> None:
    script = (
        "import sys; from mlplatform.sdk.client import LocalClient; "
        "c = LocalClient(sys.argv[1]); c.ensure(); print(c.status()['pid'])"
    )
    clients = [
        subprocess.Popen([sys.executable, "-c", script, str(home.root)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    pids = {client.communicate()[0].strip() for client in clients}
    assert [client.returncode for client in clients] == [0] * 4
    assert pids == {str(pid_of(home))}


def test_stop_and_start_again(home: Home) -> None:
    client = LocalClient(home)
    client.ensure()
    first = pid_of(home)
    assert client.stop() == first
    assert not starting.locked(home)
    client.ensure()
    assert pid_of(home) != first


def test_a_run_ends_for_its_watcher_though_the_service_is_killed(home: Home, tmp_path: Path) -> None:
    document = tmp_path / "chain.json"
    document.write_text(pipelines.chain(6).text())
    client = LocalClient(home)
    source = read_source(str(document))
    run_id = client.submit(build(source, {}, Options()))
    killed = 0
    states: list[str] = []
    for event in client.watch(run_id):
        if event["kind"] == "run":
            states.append(event["body"]["state"])
        elif event["body"]["state"] == "SUCCEEDED" and killed < 2:
            killed += 1
            os.kill(pid_of(home), signal.SIGKILL)
    assert killed == 2
    assert states[-1] == "SUCCEEDED"
    report = read_report(home, run_id)
    assert report["state"] == "SUCCEEDED"
    assert report["outputs"] == {"last": 6}


def cancel_when_it_runs(client: LocalClient, run_id: str) -> None:
    log = ""
    while "it runs" not in log:
        time.sleep(0.02)
        path = read_report(client.home, run_id)["tasks"][0]["log"]
        log = Path(path).read_text() if path and Path(path).exists() else ""
    client.cancel(run_id)


def test_a_cancel_reaches_a_run_that_is_watched(home: Home, tmp_path: Path) -> None:
    builder = pipelines.Builder("slow")
    builder.component("slow", "def slow():\n    import time\n    print('it runs', flush=True)\n    time.sleep(60)\n")
    builder.task("slow")
    document = tmp_path / "slow.json"
    document.write_text(builder.text())
    client = LocalClient(home)
    run_id = client.submit(build(read_source(str(document)), {}, Options()))
    states: list[str] = []
    for event in client.watch(run_id):
        if event["kind"] == "run":
            states.append(event["body"]["state"])
        elif event["body"]["state"] == "RUNNING":
            threading.Thread(target=cancel_when_it_runs, args=(client, run_id)).start()
    assert states[-1] == "CANCELLED"
    assert [task["state"] for task in read_report(home, run_id)["tasks"]] == ["CANCELLED"]


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("one\ntwo\n", "two"),
        (
            "Traceback (most recent call last):\n  File x\nmlplatform.core.errors.StoreError: disk full\nFree it.\n",
            "disk full",
        ),
        (
            "Traceback (most recent call last):\n  File x\nOSError: [Errno 28] no space\n",
            "OSError: [Errno 28] no space",
        ),
    ],
)
def test_the_last_words_of_a_log(log: str, words: str) -> None:
    assert starting.last_words(log) == words


def test_a_home_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    home = open_home(tmp_path / "file" / "home")
    with pytest.raises(InvalidInput, match="cannot be used: Not a directory"):
        LocalClient(home).ensure()


def test_a_service_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = open_home(tmp_path / "h")
    monkeypatch.setenv("MLPLATFORM_STORE", "carrier-pigeon://nowhere")
    with pytest.raises(ServiceError, match="could not start: carrier-pigeon: is no kind of store"):
        LocalClient(home).ensure()
