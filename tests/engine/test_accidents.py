"""Runs when things go wrong around them: secrets, full disks, two at once, cancelled trees, fixed code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import pipelines
from tests.support.home import TestHome, home_in, states
from tests.support.pipelines import Builder

SECRET = "planted-5f0c2e-secret-value"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[TestHome]:
    with home_in(tmp_path) as home:
        yield home


def with_secret(body: str) -> Builder:
    """One task that has the planted secret in its environment."""
    builder = Builder("secretive")
    builder.component(
        "use",
        f"def use() -> str:\n    import os, sys\n    value = os.environ['TOKEN']\n{body}",
        outputs={"Output": "STRING"},
    )
    builder.task("use", cache=True)
    return builder


def run_with_secret(home: TestHome, builder: Builder) -> dict:
    document = builder.document()
    entry = {"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "TOKEN"}]}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-use": {"secretAsEnv": [entry]}}}}}}
    path = home.folder / "secret.yaml"
    path.write_text(json.dumps(document) + "\n---\n" + json.dumps(platform) + "\n")
    setup = home.folder.parent / f"{home.folder.name}-setup.json"
    setup.write_text(json.dumps({"secrets": {"s": {"k": SECRET}}}))
    return home.json("run", str(path), "--setup", str(setup))


def places_with_secret(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and SECRET.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize(
    "body",
    [
        "    print('it is', value)\n    print(value, file=sys.stderr)\n    return 'done'\n",
        "    import subprocess\n    subprocess.run(['sh', '-c', 'echo $TOKEN; echo $TOKEN >&2'])\n    return 'done'\n",
        "    raise RuntimeError('bad token ' + value)\n",
    ],
    ids=["printed", "child-process", "in-an-exception"],
)
def test_a_planted_secret_is_nowhere(home: TestHome, body: str) -> None:
    result = run_with_secret(home, with_secret(body))
    assert result["state"] == ("FAILED" if "raise" in body else "SUCCEEDED")
    assert SECRET not in json.dumps(result)
    home.stop()
    assert places_with_secret(home.root) == []


def test_two_clients_at_once_share_one_service(home: TestHome) -> None:
    """Both start it, one wins, both runs end."""
    results: list[dict] = []
    path = home.folder / "chain.json"
    path.write_text(pipelines.chain(3).text())
    threads = [threading.Thread(target=lambda: results.append(home.json("run", str(path)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result["state"] for result in results] == ["SUCCEEDED"] * 3
    assert len({result["run_id"] for result in results}) == 3
    services = subprocess.run(
        ["pgrep", "-fc", f"mlplatform.sdk.local --home {home.root}"], capture_output=True, text=True, check=False
    )
    assert services.stdout.strip() == "1"


def test_cancel_ends_the_whole_tree(home: TestHome) -> None:
    """A task that ignores SIGTERM, with a child in a session of its own."""
    mark = home.folder / "pids"
    source = (
        "def stubborn():\n    import os, signal, subprocess, time\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    child = subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        f"    open({str(mark)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n    time.sleep(300)\n"
    )
    builder = Builder("stubborn")
    builder.component("stubborn", source)
    builder.task("stubborn")
    path = home.folder / "p.json"
    path.write_text(builder.text())
    run_id = home.json("run", str(path), "--detach")["run_id"]
    deadline = time.monotonic() + 60
    while not (mark.exists() and len(mark.read_text().split()) == 2):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    home.command("runs", "cancel", run_id)
    while home.json("runs", "show", run_id)["state"] not in ("CANCELLED", "FAILED"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert home.json("runs", "show", run_id)["state"] == "CANCELLED"
    for pid in mark.read_text().split():
        assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]


def test_fixed_code_continues_where_it_failed(home: TestHome) -> None:
    """``runs resume RUN FILE`` runs what failed with the new code and keeps what succeeded."""
    log = home.folder / "ran.txt"

    def document(fixed: bool) -> str:
        builder = Builder("fixable")
        note = f"    open({str(log)!r}, 'a').write(%r)\n"
        builder.component(
            "first", "def first() -> int:\n" + note % "first " + "    return 20\n", outputs={"Output": "NUMBER_INTEGER"}
        )
        body = "    return x + 1\n" if fixed else "    raise ValueError('not yet')\n"
        builder.component(
            "second",
            "def second(x: int) -> int:\n" + note % "second " + body,
            inputs={"x": "NUMBER_INTEGER"},
            outputs={"Output": "NUMBER_INTEGER"},
        )
        builder.task("first")
        builder.task("second", from_tasks={"x": ("first", "Output")})
        builder.output("result", "second", "Output", "NUMBER_INTEGER")
        path = home.folder / f"fixable-{fixed}.json"
        path.write_text(builder.text())
        return str(path)

    failed = home.json("run", document(fixed=False))
    assert failed["state"] == "FAILED"
    assert "not yet" in json.dumps(failed["tasks"])
    done = home.json("runs", "resume", failed["run_id"], document(fixed=True))
    assert (done["run_id"], done["state"], done["outputs"]) == (failed["run_id"], "SUCCEEDED", {"result": 21})
    assert log.read_text() == "first second second "


def test_an_interrupted_run_goes_on_without_anybody_watching(home: TestHome) -> None:
    """Its service was killed; ``runs resume --detach`` is what brings one back."""
    begun, go = home.folder / "begun", home.folder / "go"
    builder = Builder("interrupted")
    wait = f"    while not os.path.exists({str(go)!r}):\n        time.sleep(0.05)\n    return 7\n"
    source = f"def waits() -> int:\n    import os, time\n    open({str(begun)!r}, 'a').write('x')\n{wait}"
    builder.component("waits", source, outputs={"Output": "NUMBER_INTEGER"})
    builder.task("waits")
    run_id = home.run(builder, "--detach")["run_id"]
    until(begun.exists)
    os.kill(int(json.loads((home.root / "service.json").read_text())["pid"]), signal.SIGKILL)
    told = home.json("runs", "resume", run_id, "--detach")
    assert (told["run_id"], told["state"]) == (run_id, "RUNNING")
    go.touch()
    until(lambda: home.json("runs", "show", run_id)["state"] == "SUCCEEDED")
    assert begun.read_text() == "x", "the attempt that ran on was found again"


def until(done: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.1)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk needs Linux and root")
@pytest.mark.cannot_run_here("only root may mount the small disk this fills")
def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        with home_in(disk) as home:
            builder = Builder("fills")
            source = "def fill(out: Output[Dataset]):\n    open(out.path, 'wb').write(b'x' * (64 << 20))\n"
            builder.component("fill", source, artifacts_out={"out": "system.Dataset"})
            builder.task("fill")
            before = home.run(pipelines.chain(3))
            assert before["state"] == "SUCCEEDED"
            result = home.run(builder)
            assert result["state"] == "FAILED"
            assert "No space left" in json.dumps(result)
            for file in (home.root / "artifacts").rglob("out"):
                file.unlink()
            after = home.run(pipelines.chain(3, name="after"))
            assert after["state"] == "SUCCEEDED"
            assert home.json("runs", "show", before["run_id"])["outputs"] == {"last": 3}
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_artifacts_live_in_a_bucket(tmp_path: Path) -> None:
    """With a remote root, outputs are in the bucket, and a home without local copies reads them from there."""
    from tests.support.s3_server import s3_server

    with s3_server(tmp_path / "s3") as server:
        (server.folder / "models").mkdir()
        environment = {**server.environment(), "MLPLATFORM_ARTIFACTS": "s3://models/root"}
        with home_in(tmp_path / "project", **environment) as home:
            builder = Builder("bucket")
            builder.component(
                "make",
                "def make(out: Output[Dataset]):\n    open(out.path, 'w').write('in the bucket')\n",
                artifacts_out={"out": "system.Dataset"},
            )
            read = "def read(data: Input[Dataset]) -> str:\n    return open(data.path).read()\n"
            builder.component("read", read, artifacts_in={"data": "system.Dataset"}, outputs={"Output": "STRING"})
            builder.task("make", cache=True)
            builder.task("read", artifacts={"data": ("make", "out")})
            builder.output("text", "read", "Output", "STRING")
            first = home.run(builder)
            assert first["outputs"] == {"text": "in the bucket"}
            uri = next(t for t in first["tasks"] if t["name"] == "make")["outputs"]["out"]["uri"]
            assert uri.startswith("s3://models/root/")
            for file in (home.root / "artifacts").rglob("out"):
                file.unlink()
            second = home.run(builder)
            assert second["outputs"] == {"text": "in the bucket"}
            assert states(second)["make"] == "CACHED"


def test_deleting_a_run_leaves_what_others_reuse(home: TestHome) -> None:
    builder = Builder("shared")
    builder.component(
        "make",
        "def make(out: Output[Dataset]):\n    open(out.path, 'w').write('kept')\n",
        artifacts_out={"out": "system.Dataset"},
    )
    builder.task("make", cache=True)
    first = home.run(builder)
    second = home.run(builder)
    assert states(second) == {"make": "CACHED"}
    home.command("runs", "delete", first["run_id"], "--yes")
    home.command("gc")
    uri = Path(second["tasks"][0]["outputs"]["out"]["uri"])
    assert uri.read_text() == "kept"
    home.command("runs", "delete", second["run_id"], "--yes")
    home.command("gc")
    assert not uri.exists()
    assert home.json("runs", "list") in ([], {"runs": []})
