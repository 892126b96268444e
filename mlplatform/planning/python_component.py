"""Lightweight Python components, recognised from the command that the kfp SDK compiles them to.

The SDK (2.0.0-beta to 2.17) writes a function's source into the last word of a shell command that installs packages,
saves the source to a file and runs kfp's executor on it. Reading it back lets the platform run the function in a warm
interpreter and install packages once. Whatever is not exactly one of these forms is left alone: it is a container
command, and the shell decides what it means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from mlplatform.ir.model import ContainerExecutor

_RUNNER: Final = re.compile(
    r"""
    \s*program_path=\$\(mktemp\ -d\)
    \s+printf\ "%s"\ "\$0"\s*>\s*"\$program_path/ephemeral_component\.py"
    \s+(?:_KFP_RUNTIME=true\s+)?python3\ -m\ kfp\.(?:dsl|components)\.executor_main
    [\s\\]+--component_module_path
    [\s\\]+"\$program_path/ephemeral_component\.py"
    [\s\\]+"\$@"\s*
    """,
    re.VERBOSE,
)
_INSTALL: Final = re.compile(
    r"""
    \s*if\ !\ \[\ -x\ "\$\(command\ -v\ pip\)"\ \];\ then
    \s+(?:python3\ -m\ ensurepip\ \|\|\ python3\ -m\ ensurepip\ --user\ \|\|\ )?apt-get\ install\ python3-pip
    \s+fi
    \s+PIP_DISABLE_PIP_VERSION_CHECK=1\s+(?P<commands>.*\S)\s+&&\s+"\$0"\s+"\$@"\s*
    """,
    re.VERBOSE | re.DOTALL,
)
_VENV: Final = re.compile(
    r"""
    \s*export\ PIP_DISABLE_PIP_VERSION_CHECK=1
    \s+tmp=\$\(mktemp\ -d\)
    \s+python3\ -m\ venv\ "\$tmp/venv"\ --system-site-packages
    \s+\.\ "\$tmp/venv/bin/activate"\s*
    """,
    re.VERBOSE,
)
_PIP: Final = re.compile(r"\s*python3\s+-m\s+pip\s+install\s+--quiet[\s\\]+--no-warn-script-location(?=\s)")
_OPTION: Final = re.compile(r"""\s+(--index-url|--extra-index-url|--trusted-host)\s+([^\s'"$`;|&<>(){}\\*?~#]+)""")
#: A Python ``repr`` of a text that the shell takes literally as well.
_QUOTED: Final = re.compile(r"""\s+(?:'([^'\\]*)'|"([^"\\$`]*)")""")
_AND: Final = re.compile(r"\s*&&")

_KFP: Final = re.compile(r"kfp\s*==\s*([0-9][0-9A-Za-z.!+_-]*)")
_KFP_SOURCE: Final = re.compile(r"(?:kfp\s*@\s*)?(?:git\+)?(?:https?|file)://\S*(?:kubeflow/pipelines|/kfp-)\S*")
_KFP_COMPANIONS: Final = frozenset({"--no-deps", 'typing-extensions>=3.7.4,<5; python_version<"3.9"'})

_NOTEBOOK_MARKS: Final = ("__KFP_EMBEDDED_ARCHIVE_B64", "__KFP_NOTEBOOK_REL_PATH")


@dataclass(frozen=True, slots=True)
class PythonComponent:
    """A lightweight Python component.

    Attributes:
        source: the Python source to execute, as it stands in the command (the last word of it; where the source holds
            placeholders, use the rendered command's last word instead).
        function: the function to call.
        kfp_version: the version of the kfp runtime it was compiled with; empty if it names none.
        packages: requirements to install besides kfp's own, in order.
        pip_options: ``index_urls`` (the first replaces the default index) and ``trusted_hosts``.
        use_venv: it wants an environment of its own on top of the image's packages.
        is_notebook: the function runs an embedded notebook.
    """

    source: str
    function: str
    kfp_version: str = ""
    packages: tuple[str, ...] = ()
    pip_options: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    use_venv: bool = False
    is_notebook: bool = False


@dataclass(slots=True)
class _Installs:
    """What the commands before the function say, gathered."""

    packages: list[str] = field(default_factory=list[str])
    index_urls: list[str] = field(default_factory=list[str])
    trusted_hosts: list[str] = field(default_factory=list[str])
    kfp_version: str = ""
    use_venv: bool = False


def recognise(executor: ContainerExecutor) -> PythonComponent | None:
    """The Python component an executor is, or None if it is (or might be) anything else."""
    return _recognise(executor.command, executor.args)


@lru_cache(maxsize=1024)
def _recognise(command: tuple[str, ...], args: tuple[str, ...]) -> PythonComponent | None:
    if len(args) != 4 or args[:3] != ("--executor_input", "{{$}}", "--function_to_execute"):
        return None
    function = args[3]
    if not function.isidentifier() or len(command) not in (4, 7):
        return None
    install, run = command[:-4], command[-4:]
    if run[:2] != ("sh", "-ec") or not _RUNNER.fullmatch(run[2]):
        return None
    installs = _Installs()
    if install and not (install[:2] == ("sh", "-c") and _read_script(install[2], installs)):
        return None
    source = run[3]
    return PythonComponent(
        source=source,
        function=function,
        kfp_version=installs.kfp_version,
        packages=tuple(dict.fromkeys(installs.packages)),
        pip_options=_options(installs),
        use_venv=installs.use_venv,
        is_notebook=all(mark in source for mark in _NOTEBOOK_MARKS),
    )


def _options(installs: _Installs) -> dict[str, tuple[str, ...]]:
    options = {
        "index_urls": tuple(dict.fromkeys(installs.index_urls)),
        "trusted_hosts": tuple(dict.fromkeys(installs.trusted_hosts)),
    }
    return {name: values for name, values in options.items() if values}


def _read_script(script: str, installs: _Installs) -> bool:
    """Read the installing script; False if it is not exactly what the SDK writes."""
    match = _INSTALL.fullmatch(script)
    if match is None:
        return False
    text, at = match["commands"], 0
    while True:
        venv = _VENV.match(text, at)
        if venv:
            installs.use_venv = True
            at = venv.end()
        end = _read_pip(text, at, installs)
        if end is None:
            return False
        if end == len(text):
            return True
        joint = _AND.match(text, end)
        if joint is None:
            return False
        at = joint.end()


def _read_pip(text: str, at: int, installs: _Installs) -> int | None:
    """Read one ``pip install`` at ``at``; returns where it ends, or None if it is not understood."""
    match = _PIP.match(text, at)
    if match is None:
        return None
    at = match.end()
    while option := _OPTION.match(text, at):
        hosts = option[1] == "--trusted-host"
        (installs.trusted_hosts if hosts else installs.index_urls).append(option[2])
        at = option.end()
    words: list[str] = []
    while quoted := _QUOTED.match(text, at):
        words.append(quoted[1] if quoted[1] is not None else quoted[2])
        at = quoted.end()
    return at if words and _take(words, installs) else None


def _take(words: list[str], installs: _Installs) -> bool:
    """Tell kfp's own requirement from the user's. Options among the user's packages are not understood."""
    own = [word for word in words if _KFP.fullmatch(word) or _KFP_SOURCE.fullmatch(word)]
    if len(own) > 1:
        return False
    if own:
        version = _KFP.fullmatch(own[0])
        installs.kfp_version = version[1] if version else ""
        words = [word for word in words if word != own[0] and word not in _KFP_COMPANIONS]
    if any(word.startswith("-") or not word.strip() for word in words):
        return False
    installs.packages += words
    return True
