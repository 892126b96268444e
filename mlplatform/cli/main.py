"""The command ``mlplatform``. Commands are loaded when they are used, so that each pays only for itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any, Final

import click

from mlplatform import __version__
from mlplatform.core.errors import InvalidInput, MlPlatformError

#: Where each command lives, in the order of the help text.
COMMANDS: Final = {
    "run": "mlplatform.cli.run:run",
    "compile": "mlplatform.cli.files:compile_",
    "validate": "mlplatform.cli.files:validate",
    "runs": "mlplatform.cli.runs:runs",
    "train": "mlplatform.cli.train:train",
    "training": "mlplatform.cli.training:training",
    "cache": "mlplatform.cli.cache:cache",
    "image": "mlplatform.cli.images:image",
    "up": "mlplatform.cli.web:up",
    "server": "mlplatform.cli.web:server",
    "token": "mlplatform.cli.web:token",
    "mlflow": "mlplatform.cli.tracking:mlflow",
    "install": "mlplatform.cli.install:install",
    "uninstall": "mlplatform.cli.install:uninstall",
    "operator": "mlplatform.cli.operator:operator",
    "doctor": "mlplatform.cli.doctor:doctor",
    "gc": "mlplatform.cli.service:gc",
    "service": "mlplatform.cli.service:service",
    "demo": "mlplatform.cli.about:demo",
    "version": "mlplatform.cli.about:version",
    "completion": "mlplatform.cli.about:completion",
}


class Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            from mlplatform.ir.findings import did_you_mean

            looks_like_file = name.endswith((".ipynb", ".py", ".yaml", ".yml", ".json", ".zip", ".gz"))
            hint = f"run {name!r} with: mlplatform run {name}" if looks_like_file else did_you_mean(name, COMMANDS)
            raise click.UsageError(f"There is no command {name!r}{f' ({hint})' if hint else ''}.", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "--version", prog_name="mlplatform", message="%(prog)s %(version)s")
def cli() -> None:
    """Run notebooks and KFP pipelines on this machine: fast, tracked, cached, resumable."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit status.

    0: done, and the run succeeded. 1: a run failed or was cancelled, or something could not be had. 2: the request was
    wrong. 70: a bug of ours. 130: interrupted. 141: nobody reads our output any more.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--output=json" in arguments or ("--output", "json") in pairwise(arguments)
    try:
        try:
            status = cli.main(arguments, prog_name="mlplatform", standalone_mode=False)
            sys.stdout.flush()
            return status if isinstance(status, int) else 0
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return 2
        except click.ClickException as error:
            return _usage(error, as_json)
        except MlPlatformError as error:
            from mlplatform.cli.failures import tell

            return tell(error, as_json=as_json)
        except (click.Abort, KeyboardInterrupt):
            sys.stderr.write("interrupted\n")
            return 130
        except BrokenPipeError:
            raise
        except ModuleNotFoundError as error:
            from mlplatform.cli.failures import crash, tell
            from mlplatform.sdk.kubernetes.home import missing_packages

            return tell(missing_packages(error) or crash(error, arguments), as_json=as_json)
        except Exception as error:  # noqa: BLE001 - a user never sees our traceback; it is kept in a report
            from mlplatform.cli.failures import crash, tell

            return tell(crash(error, arguments), as_json=as_json)
    except BrokenPipeError:
        # What is left in the buffers must not fail again when the interpreter ends.
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        return 141


def _usage(error: click.ClickException, as_json: bool) -> int:
    """A command line that cannot be understood."""
    from mlplatform.cli.failures import tell

    context = getattr(error, "ctx", None)
    hint = f"Try: {context.command_path} --help" if context is not None else ""
    return tell(InvalidInput(error.format_message(), hint=hint), as_json=as_json)


if __name__ == "__main__":
    sys.exit(main())
