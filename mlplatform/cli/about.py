"""``mlplatform version``, ``completion`` and ``demo``."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mlplatform import __version__
from mlplatform.cli.options import common, give, print_json, write
from mlplatform.cli.style import Style, is_terminal
from mlplatform.sdk.client import LocalClient


@click.command()
@common
def version(home: str | None, output: str) -> None:
    """Say which version this is."""
    data = {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
    }
    give(output, data, lambda: f"mlplatform {__version__} (Python {data['python']}, {data['platform']})")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common
def completion(shell: str, home: str | None, output: str) -> None:
    """Print what makes a shell complete commands, options and runs.

    \b
    bash: mlplatform completion bash > ~/.local/share/bash-completion/completions/mlplatform
    zsh:  mlplatform completion zsh > a file _mlplatform in a folder of $fpath
    fish: mlplatform completion fish > ~/.config/fish/completions/mlplatform.fish
    """
    from click.shell_completion import get_completion_class

    from mlplatform.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell} is not known")
    script = _script(kind(cli, {}, "mlplatform", "_MLPLATFORM_COMPLETE"), shell)
    give(output, {"shell": shell, "script": script}, lambda: script)


def _script(maker: Any, shell: str) -> str:
    """The script alone: click's way for bash also asks the bash at hand for its version, which may not be there."""
    return str(maker.source_template % maker.source_vars()).strip()


@click.command()
@click.option("--offline", is_flag=True, help="Download nothing: packages come from the local caches.")
@common
def demo(offline: bool, home: str | None, output: str) -> None:
    """Train models on real data in a pipeline, twice, and show what the cache does."""
    from mlplatform.cli.run import is_script, start
    from mlplatform.cli.watching import follow
    from mlplatform.demo import main
    from mlplatform.sdk.submit import Options

    if offline:
        os.environ["MLPLATFORM_OFFLINE"] = "1"
    client = LocalClient(home)
    stream = sys.stderr if output == "json" else sys.stdout
    runs: list[Mapping[str, Any]] = []

    def run(file: Path, parameters: Mapping[str, Any], experiment: str) -> Mapping[str, Any]:
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as params:
            json.dump(dict(parameters), params)
            params.flush()
            options = Options(experiment=experiment, script=is_script())
            run_id, name = start(client, str(file), (), params.name, options)
        report = follow(client, run_id, name, stream)
        if report["state"] != "SUCCEEDED":
            from mlplatform.cli.summary import ending

            write("\n".join(ending(report, client.home, Style.of(stream))), error=output == "json")
        runs.append(report)
        return report

    status = main(run, lambda text: write(text, error=output == "json"), offline=offline)
    if runs:
        _show_pages(client, str(runs[0]["run_id"]), output)
    if output == "json":
        print_json({"state": "SUCCEEDED" if status == 0 else "FAILED", "runs": runs})
    if status:
        raise click.exceptions.Exit(1)


def _show_pages(client: LocalClient, run_id: str, output: str) -> None:
    """The first run in a browser; opened where there is one and somebody sits in front of it."""
    from mlplatform.server.links import entry_url, open_browser

    person = is_terminal(sys.stdout) and output == "text"
    url = entry_url(client.home, run_id, ticket=person)
    if url:
        write(f"\nThe run in a browser: {url}", error=output == "json")
    if person:
        open_browser(url)
