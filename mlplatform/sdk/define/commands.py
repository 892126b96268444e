"""The command of a lightweight Python component: as kfp's own compiler writes it, so that every KFP backend runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: The runtime that components are compiled for: what stock KFP installs where it runs them.
KFP_VERSION: Final = "2.17.0"
DEFAULT_IMAGE: Final = "python:3.11"
HEADER: Final = "\nimport kfp\nfrom kfp import dsl\nfrom kfp.dsl import *\nfrom typing import *\n\n"
EXECUTOR_INPUT: Final = "{{$}}"

_RUN: Final = (
    "program_path=$(mktemp -d)\n\n"
    'printf "%s" "$0" > "$program_path/ephemeral_component.py"\n'
    "_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main "
    "                        --component_module_path "
    '                        "$program_path/ephemeral_component.py" '
    '                        "$@"\n'
)
_INSTALL: Final = (
    '\nif ! [ -x "$(command -v pip)" ]; then\n'
    "    python3 -m ensurepip || python3 -m ensurepip --user || apt-get install python3-pip\n"
    "fi\n\n"
    'PIP_DISABLE_PIP_VERSION_CHECK=1 {commands} && "$0" "$@"\n'
)
_VENV: Final = (
    "\nexport PIP_DISABLE_PIP_VERSION_CHECK=1\n"
    "tmp=$(mktemp -d)\n"
    'python3 -m venv "$tmp/venv" --system-site-packages\n'
    '. "$tmp/venv/bin/activate"\n'
)


@dataclass(frozen=True, slots=True)
class Packages:
    """What is installed before a component runs. ``kfp``: kfp's runtime too, as every KFP backend but ours needs it."""

    names: tuple[str, ...] = ()
    index_urls: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] | None = None
    kfp: bool = True
    kfp_path: str = ""
    use_venv: bool = False


def lightweight(function: str, source: str, packages: Packages) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(command, args) that run ``function`` of ``source``."""
    command = (*_install(packages), "sh", "-ec", _RUN, source)
    return command, ("--executor_input", EXECUTOR_INPUT, "--function_to_execute", function)


def _install(packages: Packages) -> tuple[str, ...]:
    kfp = packages.kfp and not any(name.startswith("kfp") for name in packages.names)
    if not kfp and not packages.names:
        return ()
    commands: list[str] = []
    if packages.names:
        commands.append(_pip(packages.names, packages))
    if kfp:
        if commands:
            commands.append(" && ")
        if packages.use_venv:
            commands.append(_VENV)
        own = (packages.kfp_path,) if packages.kfp_path else _own()
        commands.append(_pip(own, packages))
    return "sh", "-c", _INSTALL.format(commands=" ".join(commands))


def _own() -> tuple[str, ...]:
    return f"kfp=={KFP_VERSION}", "--no-deps", 'typing-extensions>=3.7.4,<5; python_version<"3.9"'


def _pip(names: Sequence[str], packages: Packages) -> str:
    words = " ".join(repr(str(name)) for name in names)
    return f"python3 -m pip install --quiet --no-warn-script-location {_indexes(packages)}{words}"


def _indexes(packages: Packages) -> str:
    if not packages.index_urls:
        return ""
    options = ["--extra-index-url " + url if i else "--index-url " + url for i, url in enumerate(packages.index_urls)]
    hosts = packages.index_urls if packages.trusted_hosts is None else packages.trusted_hosts
    options += [f"--trusted-host {host}" for host in hosts]
    return " ".join(options) + " "
