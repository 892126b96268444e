"""``ml.TrainingJob``: a script, a function or a command, by several ranks at once, here or on a cluster."""

from __future__ import annotations

import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from mlplatform.core.errors import InvalidInput
from mlplatform.planning.training.shape import FRAMEWORKS, groups, merged, shape_of, spec_of, words, working_role
from mlplatform.sdk.training.scripts import Load, check_framework, load_of, load_of_text, read_script

if TYPE_CHECKING:
    from mlplatform.sdk.training.run import TrainingRun

Checkpoints = Literal["shared", "each"]
#: Writes a script that came with the object to a file, and runs the words that follow with it. On a cluster
#: ``mlplatform.training`` is brought to ranks whose image does not have it (MLP_LIBRARY); what the image has is better.
_CARRIED: Final = (
    'd=$(mktemp -d "${MLP_SCRATCH:-${TMPDIR:-/tmp}}/mlp.XXXXXX") && {put} && '
    'export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" && '
    '{ [ -z "$MLP_LIBRARY" ] || python -c "import mlplatform.training" 2>/dev/null || '
    'PYTHONPATH="$PYTHONPATH:$MLP_LIBRARY"; } && exec'
)


@dataclass(frozen=True)
class TrainingJob:
    """What is to be trained and by whom. Nothing happens before :meth:`run`.

    >>> job = TrainingJob("train.py", framework="torch", workers=2)
    >>> run = job.run()  # doctest: +SKIP
    >>> run.wait()  # doctest: +SKIP

    Args:
        what: a Python file; a function, which is taken with all it reaches; or a command as a list of words, which is
            run as it is (``["torchrun", "train.py"]``).
        args: of the script or command, words; of a function, its keyword arguments.
        framework: torch (by torchrun), jax, ray, mpi (by mpirun) or python: how ranks find each other.
        workers: how many ranks.
        procs_per_worker: processes in each, for torch and mpi; by default one for each GPU.
        gpus_per_worker: GPUs of each; gpu: products that will do (``"A100"``), on a cluster.
        elastic: the least and the most workers with which training goes on (torch, ray).
        max_restarts: how many failures start it again before it fails; a newer checkpoint forgets them.
        checkpoints: ``"shared"``: all ranks find the same folder; ``"each"``: one of its own for each.
        keep: how many checkpoints are kept.
        hang_seconds: no newer step for so long is a hang: stacks are written to the logs and it restarts. 0: never.
        deadline: seconds from its start after which it fails. grace: seconds to save after SIGTERM.
        name: a name, or the beginning of one when ``run`` completes it.
        env: environment variables of the ranks.
        image: on a cluster. A script or function travels with the job, with the modules of yours that it imports; its
            packages are the image's.
        cpus, memory: of each worker, on a cluster.
        experiment: in MLflow.
        spec: further members of a TrainingJob's spec, as its API has them; they win.
    """

    what: str | Path | Callable[..., Any] | Sequence[str]
    args: Sequence[str] | Mapping[str, Any] = ()
    framework: str = "python"
    workers: int = 1
    procs_per_worker: int | None = None
    gpus_per_worker: int = 0
    gpu: str | Sequence[str] = ()
    elastic: tuple[int, int] | None = None
    max_restarts: int = 3
    checkpoints: Checkpoints = "shared"
    keep: int = 3
    hang_seconds: int = 0
    deadline: int | None = None
    grace: int = 120
    name: str = ""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    image: str = ""
    cpus: float | None = None
    memory: str = ""
    experiment: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if self.framework not in FRAMEWORKS:
            raise InvalidInput(f"{self.framework!r} is no framework", hint=f"Frameworks: {', '.join(FRAMEWORKS)}.")
        if self.workers < 1:
            raise InvalidInput("a training job has at least one worker")
        if self.elastic is not None and not self.elastic[0] <= self.workers <= self.elastic[1]:
            raise InvalidInput(f"{self.workers} workers are not within elastic={self.elastic}")

    # ------------------------------------------------------------------ what is done with it
    def run(
        self,
        *,
        backend: str = "",
        home: str | os.PathLike[str] | None = None,
        namespace: str = "",
        context: str = "",
        wait: bool = False,
    ) -> TrainingRun:
        """Start it; it goes on without this process.

        Args:
            backend: ``local`` (a process for each rank, on this machine) or ``kubernetes`` (a TrainingJob object of
                the cluster); by default ``MLPLATFORM_BACKEND``, else local.
            home: the home folder, locally. namespace, context: of the cluster.
            wait: until it has ended.

        Raises:
            InvalidInput: it cannot be run so, or its framework is not installed here; every finding is told.
            TrainingFailed: with ``wait``, it failed.
        """
        from mlplatform.sdk.training.backends import backend_of

        found = backend_of(backend, home=home, namespace=namespace, context=context)
        if not found.cluster and (callable(self.what) or isinstance(self.what, (str, Path))):
            check_framework(self.framework)
        body = self.object(name=_completed(self._name()), cluster=found.cluster)
        run = found.create(body)
        return run.wait() if wait else run

    def object(self, name: str = "", *, cluster: bool = True) -> dict[str, Any]:
        """The TrainingJob object, as ``kubectl apply`` takes it. ``cluster``: False for this machine, where commands
        name this interpreter and this folder.

        Raises:
            InvalidInput: the script is not there, no Python, or too long to travel with the modules it reaches.
        """
        from mlplatform.apis.names import TRAINING_API_VERSION, TRAINING_JOB

        spec = spec_of(self, self._groups(cluster))
        if self.deadline is not None:
            spec["runPolicy"] = {"activeDeadlineSeconds": self.deadline}
        if self.experiment:
            spec["tracking"] = {"experimentName": self.experiment}
        return {
            "apiVersion": TRAINING_API_VERSION,
            "kind": TRAINING_JOB,
            "metadata": {"name": name or self._name()},
            "spec": merged(spec, self.spec),
        }

    # ------------------------------------------------------------------ its parts
    def _name(self) -> str:
        if self.name:
            return self.name
        if callable(self.what):
            stem = getattr(self.what, "__name__", "")
        else:
            stem = Path(self.what if isinstance(self.what, (str, Path)) else self.what[0]).stem
        slug = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
        return re.sub(r"^[^a-z]+", "", slug)[:30].rstrip("-") or "training"

    def _groups(self, cluster: bool) -> list[dict[str, Any]]:
        process = self._words(cluster)
        load = self._load() if _SCRIPT in process else None
        own = not callable(self.what) and not isinstance(self.what, (str, Path))
        found: list[dict[str, Any]] = []
        for group in groups(shape_of(self)):
            role = str(group.get("role", "worker"))
            if own and role == working_role(self.framework) and self.framework != "ray":
                made = process  # a command is run as it is
            elif self.framework == "mpi":  # mpirun starts it in other pods, each of which has to get the script
                made = words(self.framework, role, _carried(process, load), process[0])
            else:
                made = _carried(words(self.framework, role, process, process[0]), load)
            found.append(self._group(group, made, cluster))
        return found

    def _group(self, group: dict[str, Any], words: list[str], cluster: bool) -> dict[str, Any]:
        container: dict[str, Any] = {"name": "main"}
        if self.image:
            container["image"] = self.image
        if words:
            container["command"] = words
        if not cluster:
            container["workingDir"] = os.getcwd()
        if self.env:
            container["env"] = [{"name": name, "value": value} for name, value in self.env.items()]
        asked = {"cpu": f"{self.cpus:g}" if self.cpus else "", "memory": self.memory}
        if asked := {name: value for name, value in asked.items() if value}:
            container["resources"] = {"requests": asked, "limits": {k: v for k, v in asked.items() if k == "memory"}}
        return {**group, "template": {"spec": {"containers": [container]}}}

    def _words(self, cluster: bool) -> list[str]:
        """The command of one process. A script that travels is ``_SCRIPT`` in it."""
        python = "python" if cluster else sys.executable
        if callable(self.what):
            return [python, _SCRIPT]
        arguments = [str(word) for word in self.args]
        if not isinstance(self.what, (str, Path)):
            return [*(str(word) for word in self.what), *arguments]
        return [python, _SCRIPT if cluster else str(self._script()), *arguments]

    def _script(self) -> Path:
        assert isinstance(self.what, (str, Path))
        return read_script(self.what)

    def _load(self) -> Load:
        if callable(self.what):
            return load_of_text(f"{self._name()}.py", _source(self.what, self.args))
        return load_of(self._script())


#: Stands for the script among words; told from a word that a user wrote by being this very object.
_SCRIPT: Final = "".join(("mlplatform", "-", "script"))


def _carried(words: list[str], load: Load | None) -> list[str]:
    """The words, with the script that travels with them put to a file first. ``load``: None where none travels."""
    if load is None or _SCRIPT not in words:
        return words
    put = _CARRIED.replace("{put}", load.put)
    quoted = " ".join(f'"$d/{load.name}"' if word is _SCRIPT else f'"${{{index}}}"' for index, word in _numbered(words))
    rest = [word for word in words if word is not _SCRIPT]
    return ["/bin/sh", "-c", f"{put} {quoted}", load.text, *rest]


def _numbered(words: Sequence[str]) -> list[tuple[int, str]]:
    """Each word with its place among those that are not the script."""
    found: list[tuple[int, str]] = []
    count = 0
    for word in words:
        count += word is not _SCRIPT
        found.append((count, word))
    return found


def _source(function: Callable[..., Any], args: Sequence[str] | Mapping[str, Any]) -> str:
    """A script that calls the function. Raises InvalidInput, CannotCapture."""
    from mlplatform.capture import capture

    captured = capture(function)
    if captured.large:
        raise InvalidInput(
            f"{captured.name} reaches large values ({', '.join(captured.large)}) that cannot travel with the job",
            hint="Have each rank read them from a file, or from what a pipeline gives it.",
        )
    if not isinstance(args, Mapping):
        if not args:
            return _source(function, {})
        raise InvalidInput('the arguments of a function are given by name: args={"lr": 0.1}')
    given = ", ".join(f"{name}={_literal(name, value)}" for name, value in args.items())
    return f'{captured.source}\n\nif __name__ == "__main__":\n    {captured.name}({given})\n'


def _literal(name: str, value: Any) -> str:
    import ast

    text = repr(value)
    try:
        if ast.literal_eval(text) == value:
            return text
    except (ValueError, SyntaxError):
        pass
    raise InvalidInput(f"argument {name} is a {type(value).__name__}: numbers, texts, lists and dicts can travel")


def _completed(name: str) -> str:
    """A name that nothing else has: the moment and chance, in five characters."""
    from mlplatform.planning.training.names import base36

    number = (int(time.time() * 10) << 16 | uuid.uuid4().int & 0xFFFF) % 36**5
    return f"{name[:34].rstrip('-')}-{base36(number):0>5}"
