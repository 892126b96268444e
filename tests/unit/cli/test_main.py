"""The command itself: exit statuses, help, crashes, pipes, completion, reference pages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlplatform import __version__
from mlplatform.cli import main as main_module
from mlplatform.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[3]


def test_every_command_is_there_and_says_where_and_how(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
    from mlplatform.cli.docs import _walk, cli, click

    found = {path: command for command, path in _walk(cli, click.Context(cli), "mlplatform")}
    assert len(found) > 20
    for path, command in found.items():
        names = {parameter.name for parameter in command.params}
        assert names & {"home", "kubeconfig"}, path
        assert "output" in names or path == "mlplatform operator", path  # which is a process with a log
        assert command.help, path


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mlplatform {__version__}\n"
    assert main(["version", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == __version__


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "Missing argument 'FILE'"),
        (["run", "x.json", "--containers", "wasm"], "'wasm' is not one of 'docker', 'podman', 'subprocess'"),
        (["runs", "shwo", "x"], "No such command 'shwo'"),
        (["validte"], "did you mean 'validate'?"),
        (["pipeline.yaml"], "mlplatform run pipeline.yaml"),
        (["--what"], "No such option"),
    ],
)
def test_what_cannot_be_understood(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err
    assert main([*words, "--output", "json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "INVALID"
    assert told["run_id"] is None
    assert said in told["error"]["message"]


def test_a_bug_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLPLATFORM_HOME", str(tmp_path))
    (tmp_path / "logs").mkdir()

    def broken(*args: object, **kwargs: object) -> None:
        raise KeyError("inner secret")

    monkeypatch.setattr(main_module.cli, "main", broken)
    assert main(["run", "x", "-p", "password=hunter2", "--output=json"]) == 70
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["error"]["code"] == "INTERNAL"
    assert "Traceback" not in out + err
    (report,) = (tmp_path / "logs").glob("crash-*.txt")
    assert str(report) in told["error"]["hint"]
    assert report.stat().st_mode & 0o777 == 0o600
    text = report.read_text()
    assert "KeyError: 'inner secret'" in text
    assert "hunter2" not in text
    assert main(["run", "x"]) == 70
    assert capsys.readouterr().err.startswith("error: mlplatform itself failed: KeyError.\n")


def test_nobody_reads(tmp_path: Path) -> None:
    command = f"{sys.executable} -m mlplatform.cli.main run --help; echo status $? >&2"
    done = subprocess.run(["bash", "-c", f"({command}) | true"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_MLPLATFORM_COMPLETE" in capsys.readouterr().out


def test_completion_completes() -> None:
    env = {**os.environ, "COMP_WORDS": "mlplatform ru", "COMP_CWORD": "1", "_MLPLATFORM_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-m", "mlplatform.cli.main"], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["plain,run", "plain,runs"]


def test_the_reference_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mlplatform.cli.docs", "--check"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout


def test_a_command_loads_only_what_it_needs() -> None:
    code = (
        "import sys; from mlplatform.cli.main import main; main(['validate', sys.argv[1]]); "
        "print(sorted({'rich', 'yaml', 'kfp', 'asyncio', 'sqlite3', 'http', 'mlflow', 'cel'} & set(sys.modules)))"
    )
    from tests.support import pipelines

    file = Path(os.environ["MLPLATFORM_HOME"]) / "light.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(pipelines.chain(2).text())
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
