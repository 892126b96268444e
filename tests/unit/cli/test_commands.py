"""Commands against the real service, in a pipe."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.home import TestHome, states


def test_run_in_words(home: TestHome) -> None:
    done = home.command("run", "chain.json", "--no-cache")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("chain  ")
    # On a busy machine a task may wait for a moment first, and says so.
    states = [line.split("  ")[0] for line in lines if line.startswith(("◐ t", "● t"))]
    assert states == [f"{sign} t{n}" for n in range(3) for sign in "◐●"]
    verdict = next(line for line in lines if "succeeded in" in line)
    assert verdict.endswith("3 tasks succeeded")
    assert "  last  3" in lines
    assert "\x1b" not in done.stdout


def test_run_in_json(home: TestHome) -> None:
    done = home.command("run", "chain.json", "--output", "json", "--name", "mine", "--experiment", "exp")
    report = json.loads(done.stdout)
    assert (report["state"], report["outputs"], report["name"], report["experiment"]) == (
        "SUCCEEDED", {"last": 3}, "mine", "exp",
    )  # fmt: skip
    assert set(states(report)) == {"t0", "t1", "t2"}
    assert "t0  " in done.stderr
    assert home.json("runs", "show", "mine")["run_id"] == report["run_id"]
    again = home.json("run", "chain.json")
    assert states(again) == dict.fromkeys(("t0", "t1", "t2"), "CACHED")


def test_a_failure(home: TestHome) -> None:
    done = home.command("run", "failing.json")
    assert done.returncode == 1
    assert "ValueError: no good" in done.stdout
    assert "mlplatform runs resume" in done.stdout
    assert "Traceback" in done.stdout
    assert "mlplatform/" not in done.stdout.split("Traceback")[1].split("log:")[0].replace("mlplatform/0", "")
    report = home.json("runs", "show", "latest")
    assert states(report) == {"fail": "FAILED", "fine": "SUCCEEDED", "after": "SKIPPED"}
    logs = home.command("runs", "logs", "latest", "fail").stdout
    assert logs.startswith("about to\n")
    (entry,) = home.json("runs", "logs", "latest", "fine")["logs"]
    assert (entry["task"], entry["attempt"], entry["text"]) == ("fine", 1, "fine\n")
    assert home.command("runs", "logs", "latest", "fail", "--tail", "1").stdout == "ValueError: no good\n"
    assert "did not run here (it is skipped)" in home.command("runs", "logs", "latest", "after").stderr
    why = home.json("cache", "why", "latest", "fail")["tasks"]
    assert [(each["name"], each["state"]) for each in why] == [("fail", "FAILED")]
    shown = home.command("runs", "show", "latest")
    assert shown.returncode == 0
    assert "✕ fail" in shown.stdout


def test_resume_with_changed_code(home: TestHome) -> None:
    failed = home.json("run", "failing.json")
    text = (home.folder / "failing.json").read_text().replace("raise ValueError", "print")
    (home.folder / "mended.json").write_text(text)
    done = home.command("runs", "resume", failed["run_id"], "mended.json", "--output", "json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["run_id"] == failed["run_id"]
    assert states(report) == {"fail": "SUCCEEDED", "fine": states(failed)["fine"], "after": "SUCCEEDED"}
    assert "failed" not in done.stderr, "what happened before the resume is told again"


def test_how_two_runs_differ(home: TestHome) -> None:
    failed = home.json("run", "failing.json")
    text = (home.folder / "failing.json").read_text().replace("raise ValueError", "print")
    (home.folder / "mended.json").write_text(text)
    mended = home.json("run", "mended.json")
    found = home.json("runs", "diff", failed["run_id"], "latest")
    assert (found["a"]["run_id"], found["b"]["run_id"]) == (failed["run_id"], mended["run_id"])
    assert list(found["code"]) == ["fail"]
    assert found["states"]["fail"] == {"a": "FAILED", "b": "SUCCEEDED"}
    told = home.command("runs", "diff", failed["run_id"], mended["run_id"])
    assert told.returncode == 0
    assert "differ in 1 task's code" in told.stdout
    assert "+    print(" in told.stdout
    assert home.command("runs", "diff", failed["run_id"], "no-such-run").returncode == 2


def test_detach_follow_and_cancel(home: TestHome) -> None:
    started = home.json("run", "slow.json", "--detach")
    run_id = started["run_id"]
    follow = subprocess.Popen(
        [sys.executable, "-m", "mlplatform.cli.main", "runs", "logs", run_id, "-f", "--home", str(home.root)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert follow.stdout is not None
    assert follow.stdout.readline() == "slow | it runs\n"
    assert home.json("runs", "list", "--state", "running")["runs"][0]["run_id"] == run_id
    assert home.command("runs", "delete", run_id, "--yes").returncode == 2
    cancelled = home.json("runs", "cancel", run_id)
    assert cancelled == {"run_id": run_id, "state": "CANCELLED"}
    assert follow.wait(timeout=30) == 0
    assert home.command("runs", "cancel", run_id).returncode == 2
    assert states(home.json("runs", "show", run_id)) == {"slow": "CANCELLED"}


def test_tags_notes_and_lists(home: TestHome) -> None:
    run_id = home.json("run", "chain.json", "--name", "tagged")["run_id"]
    assert home.json("runs", "tag", "tagged", "team=blue", "kind=a=b")["tags"] == {"team": "blue", "kind": "a=b"}
    assert home.json("runs", "tag", run_id, "kind=")["tags"] == {"team": "blue"}
    assert home.json("runs", "note", run_id, "looks good")["note"] == "looks good"
    assert [run["run_id"] for run in home.json("runs", "list", "--tag", "team=blue")["runs"]] == [run_id]
    assert home.json("runs", "list", "--tag", "team=red")["runs"] == []
    newest = home.json("runs", "list", "--limit", "1")["runs"]
    assert [run["run_id"] for run in newest] == [run_id]
    older = home.json("runs", "list", "--limit", "1", "--before", run_id)["runs"]
    assert older[0]["run_id"] < run_id
    assert "tagged" in home.command("runs", "list").stdout
    assert home.command("runs", "tag", run_id, "nonsense").returncode == 2


def test_delete_and_clear(home: TestHome) -> None:
    run_id = home.json("run", "chain.json", "--no-cache")["run_id"]
    assert home.json("runs", "delete", run_id, "--yes") == {"run_id": run_id, "deleted": True}
    assert home.command("runs", "show", run_id).returncode == 2
    home.json("run", "chain.json")
    removed = home.json("cache", "clear", "--all", "--yes")["removed"]
    assert removed > 0
    assert states(home.json("run", "chain.json"))["t0"] == "SUCCEEDED"
    assert home.command("cache", "clear").returncode == 2


def test_gc_and_service(home: TestHome) -> None:
    home.json("run", "chain.json")
    stray = home.root / "runs" / "1zzzzzzzzzzzzzzzzz"
    stray.mkdir()
    (stray / "x").write_text("12345")
    assert home.json("gc")["bytes"] == 5
    assert not stray.exists()
    status = home.json("service", "status")
    assert status["running"] is True
    assert home.json("service", "stop") == {"stopped": True, "pid": status["pid"]}
    assert home.json("service", "status") == {"running": False, "home": str(home.root)}
    assert home.json("service", "stop") == {"stopped": False, "pid": None}


def test_looking_makes_no_home(tmp_path: Path) -> None:
    other = TestHome(tmp_path)
    assert other.json("runs", "list") == {"runs": []}
    assert other.json("gc")["runs"] == []
    assert other.command("runs", "show", "latest").returncode == 2
    assert other.command("runs", "cancel", "latest").returncode == 2
    assert other.command("mlflow").returncode == 2
    assert other.json("service", "status")["running"] is False
    assert not other.root.exists()


def test_validate_and_compile(home: TestHome) -> None:
    told = home.json("validate", "chain.json")
    assert (told["valid"], told["pipeline"], told["tasks"]) == (True, "chain", 3)
    (home.folder / "broken.json").write_text("{}")
    done = home.command("validate", "broken.json", "--output", "json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "INVALID_PIPELINE"
    assert home.command("validate", "chain.json", "-p", "x=1").returncode == 2
    assert home.command("compile", "chain.json").returncode == 2


def test_compile_a_py(home: TestHome) -> None:
    from tests.unit.cli.mistakes import PIPELINE_PY

    (home.folder / "two.py").write_text(PIPELINE_PY)
    assert home.json("compile", "two.py:long", "out.yaml")["file"] == "out.yaml"
    assert home.json("validate", "out.yaml")["pipeline"] == "long"
    printed = home.command("compile", "two.py:short", "-o", "-")
    assert printed.stdout.startswith("# PIPELINE DEFINITION\n# Name: short\n")


def test_doctor(home: TestHome) -> None:
    told = home.json("doctor")
    found = {check["name"]: check for check in told["checks"]}
    assert {"python", "cores", "memory", "gpu", "containers", "tracing", "uv", "kfp", "mlflow", "home", "disk",
            "file system", "service"} <= set(found)  # fmt: skip
    assert all(check["state"] in ("ok", "limited", "problem") for check in told["checks"])
    assert all(check["advice"] for check in told["checks"] if check["state"] != "ok")
    assert told["usable"] is (not any(check["state"] == "problem" for check in told["checks"]))
    assert home.command("doctor").returncode == (0 if told["usable"] else 1)


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of Unix")
class TestTerminal:
    """What a person sees, on a terminal of its own."""

    def run(self, home: TestHome, *words: str, interrupts: int = 0) -> tuple[int, str]:
        import os
        import pty
        import select

        command = [sys.executable, "-m", "mlplatform.cli.main", *words, "--home", str(home.root)]
        before = set((home.root / "runs").glob("*"))
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(home.folder)
            os.environ.update(TERM="xterm-256color", COLUMNS="100", LINES="30")
            os.environ.pop("NO_COLOR", None)
            os.execv(sys.executable, command)
        text, pressed = "", 0
        end = time.monotonic() + 100
        while time.monotonic() < end:
            ready, _, _ = select.select([terminal], [], [], 0.1)
            if ready:
                try:
                    data = os.read(terminal, 65536)
                except OSError:
                    break
                if not data:
                    break
                text += data.decode("utf-8", "replace")
            begun = "◐" in text and self.logged(home, before)
            if (pressed == 0 < interrupts and begun) or (pressed == 1 < interrupts and "cancelling " in text):
                os.write(terminal, b"\x03")
                pressed += 1
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), text

    @staticmethod
    def logged(home: TestHome, before: set[Path]) -> bool:
        new = set((home.root / "runs").glob("*")) - before
        return any("it runs" in log.read_text() for folder in new for log in folder.rglob("task.log"))

    def test_a_live_tree(self, home: TestHome) -> None:
        status, text = self.run(home, "run", "chain.json", "--no-cache")
        assert status == 0
        assert "\x1b[32m●" in text
        assert "3 tasks succeeded" in text

    def test_ctrl_c_cancels(self, home: TestHome) -> None:
        status, text = self.run(home, "run", "slow.json", interrupts=1)
        assert status == 1
        assert "Ctrl-C again leaves it" in text
        assert "cancelled" in text.rpartition("slow-")[2]

    def test_ctrl_c_twice_leaves(self, home: TestHome) -> None:
        status, text = self.run(home, "run", "stubborn.json", interrupts=2)
        assert status == 130
        assert "it ends alone" in text
        run_id = home.json("runs", "list", "--limit", "1")["runs"][0]["run_id"]
        for _ in range(200):
            report = home.json("runs", "show", run_id)
            if report["finished_at"]:
                break
            time.sleep(0.1)
        assert report["state"] == "CANCELLED"
