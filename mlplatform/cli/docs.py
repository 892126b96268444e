"""The reference pages, written from what they describe: ``python -m mlplatform.cli.docs [--check] [FOLDER]``.

``cli.md`` comes from the commands themselves, ``errors.md`` from the error classes.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from mlplatform.cli.main import cli
from mlplatform.core.errors import MlPlatformError, error_classes

_FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"
_NOTICE = "<!-- Written by python -m mlplatform.cli.docs; do not edit. -->\n"

_EXITS = """## Exit status

| status | meaning |
|---|---|
| 0 | done; for `run` and `resume`: the run succeeded |
| 1 | a run failed or was cancelled, or something that was needed could not be had |
| 2 | the request was wrong; nothing was started |
| 70 | a bug of mlplatform; where its report lies is told |
| 130 | interrupted; for `run`: left by a second Ctrl-C, the first one cancels the run |
| 141 | nobody reads the output any more |

## Settings

| variable | meaning |
|---|---|
| `MLPLATFORM_HOME` | the home folder, instead of `~/.mlplatform` |
| `MLPLATFORM_STORE` | the run store: `postgresql://...` or `sqlite:///...`, instead of a file in the home folder |
| `MLPLATFORM_CACHE` | downloads and environments shared by all homes |
| `MLPLATFORM_OFFLINE` | `1`: download nothing |
| `MLPLATFORM_IDLE_SECONDS` | how long an idle service stays |
| `MLPLATFORM_TRACKING` | `off`: nothing is written to MLflow, and none is started |
| `MLFLOW_TRACKING_URI` | the MLflow server to record runs at, instead of the home folder's |
| `NO_COLOR`, `FORCE_COLOR` | no colours; colours in a pipe as well |
"""

_RUN_JSON = "## What `--output json` prints of a run\n\n"


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    return {"cli.md": cli_page(), "errors.md": errors_page()}


def cli_page() -> str:
    """All commands with their arguments and options."""
    context = click.Context(cli, info_name="mlplatform")
    parts = ["# Commands\n", _NOTICE, "Every command has `--home`, `--output` and `--help`.\n"]
    parts += [_command(command, path) for command, path in _walk(cli, context, "mlplatform")]
    return "\n".join([*parts, _EXITS, _report()])


def _walk(command: click.Command, context: click.Context, path: str) -> Iterator[tuple[click.Command, str]]:
    if not isinstance(command, click.Group):
        yield command, path
        return
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        if inner is not None and not inner.hidden:
            yield from _walk(inner, context, f"{path} {name}")


def _command(command: click.Command, path: str) -> str:
    context = click.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    lines = [f"## {path}\n", f"    {usage}\n", _help(command.help or ""), ""]
    rows: list[tuple[str, str]] = []
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name not in ("home", "output"):
            record = parameter.get_help_record(context)
            if record is not None:
                rows.append((record[0], record[1]))
    if rows:
        lines += ["| option | |", "|---|---|"]
        lines += [f"| `{_cell(names)}` | {_cell(text)} |" for names, text in rows]
        lines.append("")
    return "\n".join(lines)


def _help(text: str) -> str:
    """A help text as Markdown: paragraphs as they are, ``\\b`` blocks as code."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    made: list[str] = []
    for paragraph in paragraphs:
        if paragraph.startswith("\b"):
            made.append("\n".join("    " + line for line in paragraph.splitlines()[1:]))
        else:
            made.append(_names(" ".join(paragraph.split())))
    return "\n\n".join(made)


def _names(text: str) -> str:
    """Options and placeholders in a sentence, set as code."""
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*)", r"`\1`", text)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _report() -> str:
    from mlplatform.sdk import report

    shape = inspect.cleandoc(report.__doc__ or "")
    _, _, rest = shape.partition("\n\n")
    block, _, words = rest.removeprefix("::\n\n").partition("\n\n")
    code = "\n".join(line.removeprefix("    ") for line in block.splitlines())
    return f"{_RUN_JSON}```text\n{code}\n```\n\n{words.replace('``', '`')}\n\n{_REFUSED}"


_REFUSED = """A request that was refused prints one too, with every finding in `error.findings` (`path`, `code`,
`message`, `hint`); other commands that fail print the same:

```text
{"run_id": null, "state": "INVALID", "outputs": {}, "tasks": [], "error": {"code", "message", "hint", "findings"}}
```
"""


def errors_page() -> str:
    """Every error class with its code, exit status and meaning."""
    lines = [
        "# Errors\n",
        _NOTICE,
        "Scripts match on `error.code`; it never changes its meaning. *Again* says whether the same request may work",
        "if it is made once more.\n",
        "| code | exit | again | meaning |",
        "|---|---|---|---|",
    ]
    for code, cls in error_classes().items():
        again = "yes" if cls.retryable else "no"
        lines.append(f"| `{code}` | {cls.exit_status} | {again} | {_cell(_meaning(cls))} |")
    return "\n".join(lines) + "\n"


def _meaning(cls: type[MlPlatformError]) -> str:
    """The class's own words: those of its docstring's first paragraph."""
    paragraph = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0]
    return " ".join(paragraph.split()).replace("``", "`")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or with ``--check`` only say which differ (exit status 1)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    check = "--check" in words
    rest = [word for word in words if word != "--check"]
    folder = Path(rest[0]) if rest else _FOLDER
    stale: list[str] = []
    for name, text in pages().items():
        file = folder / name
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    if check and stale:
        sys.stdout.write(f"{', '.join(stale)} in {folder}: not up to date; run: python -m mlplatform.cli.docs\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
