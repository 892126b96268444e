"""Recognising lightweight Python components of all kfp 2 versions, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlplatform.ir.model import ContainerExecutor
from mlplatform.planning.python_component import PythonComponent, recognise

SOURCE = "\nimport kfp\nfrom kfp import dsl\n\ndef add(a: int) -> int:\n    return a + 1\n\n"
ARGS = ("--executor_input", "{{$}}", "--function_to_execute", "add")
GAP = " " * 25
RUN = (
    'program_path=$(mktemp -d)\n\nprintf "%s" "$0" > "$program_path/ephemeral_component.py"\n'
    f"_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main{GAP}--component_module_path{GAP}"
    f'"$program_path/ephemeral_component.py"{GAP}"$@"\n'
)
BETA_RUN = (
    'program_path=$(mktemp -d)\nprintf "%s" "$0" > "$program_path/ephemeral_component.py"\n'
    'python3 -m kfp.components.executor_main --component_module_path "$program_path/ephemeral_component.py" "$@"\n'
)
PIP = "python3 -m pip install --quiet --no-warn-script-location "
KFP = "'kfp==2.17.0' '--no-deps' 'typing-extensions>=3.7.4,<5; python_version<\"3.9\"'"
VENV = (
    "\nexport PIP_DISABLE_PIP_VERSION_CHECK=1\ntmp=$(mktemp -d)\n"
    'python3 -m venv "$tmp/venv" --system-site-packages\n. "$tmp/venv/bin/activate"\n '
)


def install(commands: str, ensure: str = "python3 -m ensurepip || python3 -m ensurepip --user || ") -> str:
    return (
        f'\nif ! [ -x "$(command -v pip)" ]; then\n    {ensure}apt-get install python3-pip\nfi\n\n'
        f'PIP_DISABLE_PIP_VERSION_CHECK=1 {commands} && "$0" "$@"\n'
    )


def executor(commands: str | None, run: str = RUN, **more: Any) -> ContainerExecutor:
    first = () if commands is None else ("sh", "-c", install(commands))
    return replace(ContainerExecutor("python:3.11", (*first, "sh", "-ec", run, SOURCE), ARGS), **more)


@pytest.mark.parametrize(
    ("commands", "run", "expected"),
    [
        (PIP + KFP, RUN, PythonComponent(SOURCE, "add", "2.17.0")),
        (None, RUN, PythonComponent(SOURCE, "add")),
        (
            PIP + KFP + "  &&  " + PIP + "'pandas==2.2.0' 'scikit-learn'",
            RUN,
            PythonComponent(SOURCE, "add", "2.17.0", ("pandas==2.2.0", "scikit-learn")),
        ),
        (
            PIP + "'nbclient>=0.10,<1'  &&  " + PIP + KFP,
            RUN,
            PythonComponent(SOURCE, "add", "2.17.0", ("nbclient>=0.10,<1",)),
        ),
        (
            PIP.rstrip() + "  'pandas' 'kfp==2.0.0-beta.13'",
            BETA_RUN,
            PythonComponent(SOURCE, "add", "2.0.0-beta.13", ("pandas",)),
        ),
        (
            "python3 -m pip install --quiet     --no-warn-script-location 'kfp==2.0.0-rc.1'",
            BETA_RUN,
            PythonComponent(SOURCE, "add", "2.0.0-rc.1"),
        ),
        (
            PIP + "'yapf'  &&  " + VENV + PIP + KFP,
            RUN,
            PythonComponent(SOURCE, "add", "2.17.0", ("yapf",), use_venv=True),
        ),
        (
            PIP
            + "--index-url https://index.example/simple --extra-index-url https://more.example/simple "
            + "--trusted-host index.example 'pandas'  &&  "
            + PIP
            + "--index-url https://index.example/simple --extra-index-url https://more.example/simple "
            + "--trusted-host index.example "
            + KFP,
            RUN,
            PythonComponent(
                SOURCE,
                "add",
                "2.17.0",
                ("pandas",),
                {
                    "index_urls": ("https://index.example/simple", "https://more.example/simple"),
                    "trusted_hosts": ("index.example",),
                },
            ),
        ),
        (
            PIP + "'git+https://code.example/kubeflow/pipelines.git@refs/pull/1/merge#subdirectory=sdk' '--no-deps'",
            RUN,
            PythonComponent(SOURCE, "add"),
        ),
        (PIP + "'kfp==2.5.0' 'pandas'", RUN, PythonComponent(SOURCE, "add", "2.5.0", ("pandas",))),
        (PIP + "'kfp-kubernetes==1.0'", RUN, PythonComponent(SOURCE, "add", "", ("kfp-kubernetes==1.0",))),
        (PIP + "\"a; python_version<'3.9'\"", RUN, PythonComponent(SOURCE, "add", "", ("a; python_version<'3.9'",))),
    ],
)
def test_forms_of_the_sdk(commands: str | None, run: str, expected: PythonComponent) -> None:
    assert recognise(executor(commands, run)) == expected


def test_forms_reflowed_by_hand() -> None:
    """YAML written by people keeps the words, not the spaces."""
    script = install(PIP + KFP).lstrip("\n").rstrip("\n")
    command = ("sh", "-c", script, "sh", "-ec", RUN.strip().replace(GAP, " "), SOURCE)
    assert recognise(ContainerExecutor("i", command, ARGS)) == PythonComponent(SOURCE, "add", "2.17.0")


def test_notebooks() -> None:
    source = SOURCE + "__KFP_EMBEDDED_ARCHIVE_B64 = 'x'\n__KFP_NOTEBOOK_REL_PATH = 'n.ipynb'\n"
    found = recognise(ContainerExecutor("i", ("sh", "-ec", RUN, source), ARGS))
    assert found is not None
    assert found.is_notebook


@pytest.mark.parametrize(
    "other",
    [
        executor(PIP + KFP + "; rm -rf x"),
        executor(PIP + KFP + " && curl x"),
        executor("echo hello && " + PIP + KFP),
        executor(PIP + "pandas"),
        executor(PIP + "'--upgrade' 'pandas'"),
        executor(PIP + "'-r' 'requirements.txt'"),
        executor(PIP + '"$(id)"'),
        executor(PIP + "'pandas' > log"),
        executor(PIP + "--index-url https://x/$(id) 'pandas'"),
        executor(PIP.replace("--quiet", "") + KFP),
        executor(PIP),
        executor(PIP + KFP, run=RUN.replace("executor_main", "other_main")),
        executor(PIP + KFP, run=RUN + "echo done\n"),
        executor(PIP + KFP, run="set -x\n" + RUN),
        executor(PIP + KFP, args=(*ARGS, "--more")),
        executor(PIP + KFP, args=("--executor_input", "{{$}}", "--function_to_execute", "not a name")),
        executor(PIP + KFP, args=()),
        ContainerExecutor("i", ("python3", "-m", "kfp.dsl.executor_main"), ARGS),
        ContainerExecutor("i", ("sh", "-c", install(PIP + KFP) + "x", "sh", "-ec", RUN, SOURCE), ARGS),
        ContainerExecutor("i", ("bash", "-c", install(PIP + KFP), "sh", "-ec", RUN, SOURCE), ARGS),
        ContainerExecutor("i", ("echo",), ("hello",)),
        ContainerExecutor("i"),
    ],
)
def test_everything_else_is_a_container(other: ContainerExecutor) -> None:
    assert recognise(other) is None
