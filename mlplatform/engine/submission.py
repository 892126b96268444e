"""What a client hands over to have a pipeline run, and what of it is kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlplatform.core.errors import Finding, InvalidInput, InvalidParameters
from mlplatform.core.model import Artifact, ArtifactValue
from mlplatform.core.values import child
from mlplatform.engine.ports import Interpreter

#: Variables of a submitter's shell that mean nothing to a task, or would point it back at the submitter.
_DROPPED_ENV = frozenset({"_", "SHLVL", "PWD", "OLDPWD", "LD_PRELOAD", "MLPLATFORM_ATTEMPT", "PYTHONINSPECT"})

#: The Kubernetes secret whose keys the SDK's ``ml.secret`` names.
OWN_SECRETS = "mlplatform"

_SETUP_KEYS = frozenset({"allow", "secrets", "config_maps", "pvcs", "artifacts"})


@dataclass(frozen=True, slots=True)
class Setup:
    """The outside world of a run: secrets and config maps by name, claims, root artifacts, and what the user allowed.

    Secret values live here and in the processes that need them, nowhere else.
    """

    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]], repr=False)
    config_maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    pvcs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    artifacts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    allow: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Submission:
    """One request to run a document. ``env`` is the submitter's environment; it is kept only while the run lives.

    ``parallel``: how many processes a notebook's tasks may run in at once.
    ``origin``: the file the document was made from, for a resume with the code as it is then.
    ``artifacts``: root artifacts, besides those of the setup file: ``uri``, ``type``, ``metadata``, and ``digest`` and
    ``size`` where they are known. ``run_id``: chosen by the client, so that a submission whose answer was lost can be
    sent again; "" to be given one.
    """

    document: str
    parameters: Mapping[str, Any]
    interpreter: Interpreter
    cwd: str
    env: Mapping[str, str] = field(repr=False)
    setup_path: str = ""
    name: str = ""
    experiment: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    cache: bool = True
    containers: str = ""
    priority: int = 0
    parallel: int = 1
    script: bool = False
    run_id: str = ""
    origin: str = ""
    artifacts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])

    @staticmethod
    def from_args(args: Mapping[str, Any]) -> Submission:
        """Raises InvalidInput for a request that is not of the protocol's form."""
        try:
            python = args["interpreter"]
            containers = args.get("containers") or ""
            if containers not in ("", "docker", "podman", "subprocess"):
                raise InvalidInput(f"containers is docker, podman or subprocess, not {containers!r}")
            return Submission(
                document=args["document"],
                parameters=dict(args.get("parameters") or {}),
                interpreter=Interpreter(
                    executable=python["executable"],
                    digest="",
                    version=python.get("version") or "",
                    sys_path=tuple(python.get("sys_path") or ()),
                ),
                cwd=args.get("cwd") or os.path.expanduser("~"),
                env={k: v for k, v in child(args, "env").items() if k not in _DROPPED_ENV},
                setup_path=args.get("setup_path") or "",
                name=args.get("name") or "",
                experiment=args.get("experiment") or "",
                tags=dict(args.get("tags") or {}),
                cache=bool(args.get("cache", True)),
                containers=containers,
                priority=int(args.get("priority") or 0),
                parallel=max(1, int(args.get("parallel") or 1)),
                script=bool(args.get("script")),
                run_id=_run_id(args.get("run_id") or ""),
                origin=str(args.get("origin") or ""),
                artifacts={str(name): dict(entry) for name, entry in child(args, "artifacts").items()},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"the submission is not complete: {error!r}") from None

    def context(self) -> dict[str, Any]:
        """The part that is stored with the run: no environment, no secret."""
        return {
            "interpreter": {
                "executable": self.interpreter.executable,
                "version": self.interpreter.version,
                "sys_path": list(self.interpreter.sys_path),
            },
            "cwd": self.cwd,
            "setup_path": self.setup_path,
            "cache": self.cache,
            "containers": self.containers,
            "parallel": self.parallel,
            "script": self.script,
            "origin": self.origin,
        }


def _run_id(text: str) -> str:
    """A run id that a client chose, or "". Raises InvalidInput for anything that could not be one."""
    if text and not (len(text) == 18 and text.isascii() and text.isalnum() and text == text.lower()):
        raise InvalidInput(f"{text!r} is no run id")
    return text


def read_setup(path: str) -> Setup:
    """Read a setup file; an empty path is an empty setup.

    Raises:
        InvalidParameters: the file cannot be read or has findings. No value of it appears in a message.
    """
    if not path:
        return Setup()
    try:
        data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidParameters(f"the setup file {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise InvalidParameters(f"the setup file {path} is not JSON") from None
    findings: list[Finding] = []
    if not isinstance(data, dict):
        raise InvalidParameters(f"the setup file {path} must hold one JSON object")
    table: dict[str, Any] = data  # pyright: ignore[reportUnknownVariableType]
    for key in sorted(set(table) - _SETUP_KEYS):
        findings.append(Finding(key, "is not a part of a setup file", hint="known: " + ", ".join(sorted(_SETUP_KEYS))))
    for section in ("secrets", "config_maps"):
        findings += _check_texts(section, table.get(section) or {})
    for section in ("pvcs", "artifacts"):
        if not isinstance(table.get(section) or {}, dict):
            findings.append(Finding(section, "must be an object"))
    if findings:
        raise InvalidParameters(f"the setup file {path} has findings", findings=findings)
    return Setup(
        secrets=table.get("secrets") or {},
        config_maps=table.get("config_maps") or {},
        pvcs=table.get("pvcs") or {},
        artifacts=table.get("artifacts") or {},
        allow=frozenset(table.get("allow") or ()),
    )


def _check_texts(section: str, value: Any) -> list[Finding]:
    if not isinstance(value, dict):
        return [Finding(section, "must be an object of objects")]
    findings: list[Finding] = []
    for name, entries in value.items():  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(entries, dict) or not all(isinstance(text, str) for text in entries.values()):  # pyright: ignore[reportUnknownVariableType]
            findings.append(Finding(f"{section}.{name}", "must be an object of texts"))
    return findings


def root_artifacts(
    setup: Setup, types: Mapping[str, str], given: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, ArtifactValue]:
    """Root input artifacts named in the setup and ``given`` with the submission (which wins), with the types the
    pipeline declares (default system.Artifact)."""
    found: dict[str, ArtifactValue] = {}
    for name, entry in {**setup.artifacts, **(given or {})}.items():
        declared = types.get(name) or "system.Artifact"
        found[name] = Artifact(
            name=name,
            uri=str(entry.get("uri", "")),
            type=str(entry.get("type") or declared) if declared == "system.Artifact" else declared,
            metadata=dict(entry.get("metadata") or {}),
            digest=str(entry.get("digest") or ""),
            size=entry.get("size"),
        )
    return found


def with_own_secrets(setup: Setup, env: Mapping[str, str], file: Path) -> Setup:
    """The setup with the secrets of ``ml.secret``: what the setup file says of them, else the home's secrets file,
    else variables of the submitter's environment.

    Raises:
        InvalidParameters: that file is not a JSON object of texts, or others may read it.
    """
    own = _OwnSecrets({**_secrets_file(file), **(setup.secrets.get(OWN_SECRETS) or {})}, env)
    return replace(setup, secrets={**setup.secrets, OWN_SECRETS: own})


class _OwnSecrets(Mapping[str, str]):
    """Secrets by name. Variables of the environment are found by name only: nobody gets all of them."""

    def __init__(self, kept: Mapping[str, str], env: Mapping[str, str]) -> None:
        self._kept = kept
        self._env = env

    def __getitem__(self, name: str) -> str:
        return self._kept[name] if name in self._kept else self._env[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        return f"<{len(self._kept)} secrets>"


def _secrets_file(file: Path) -> dict[str, str]:
    try:
        status = file.stat()
        data: Any = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise InvalidParameters(f"the secrets file {file} cannot be read, or is not JSON") from None
    if status.st_mode & 0o077:
        raise InvalidParameters(f"the secrets file {file} can be read by others", hint=f"Run: chmod 600 {file}")
    table: dict[Any, Any] = data if isinstance(data, dict) else {0: 0}  # pyright: ignore[reportUnknownVariableType]
    if not all(isinstance(key, str) and isinstance(value, str) for key, value in table.items()):
        raise InvalidParameters(f"the secrets file {file} must be one JSON object of texts")
    return table


def keep_private(path: Path, env: Mapping[str, str]) -> None:
    """Write the submitter's environment where only the user reads it, atomically; removed when the run ends."""
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump({"env": dict(env)}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_private(path: Path) -> dict[str, str]:
    """The environment kept by :func:`keep_private`; empty if the run was submitted without one or has ended."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))["env"])
    except (OSError, ValueError, KeyError):
        return {}
