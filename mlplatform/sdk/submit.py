"""From what a user names (a file, parameters, a setup) to a checked submission, with every finding at once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mlplatform.core.errors import Finding, InvalidParameters, NotFound, Unsupported
from mlplatform.core.model import Artifact
from mlplatform.core.values import JsonValue, ParameterType, preview
from mlplatform.ir import package
from mlplatform.ir.arguments import check_arguments
from mlplatform.ir.load import loads
from mlplatform.ir.model import Pipeline
from mlplatform.ir.paths import child

if TYPE_CHECKING:
    from mlplatform.engine.home import Home
    from mlplatform.notebook.model import NotebookPlan

#: How a value of each type is typed on a command line, for messages.
_EXAMPLES = {
    ParameterType.NUMBER_INTEGER: "-p {name}=3",
    ParameterType.NUMBER_DOUBLE: "-p {name}=0.5",
    ParameterType.BOOLEAN: "-p {name}=true",
    ParameterType.LIST: "-p {name}='[1, 2]'",
    ParameterType.STRUCT: """-p {name}='{{"key": 1}}'""",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A pipeline as it was found: the text that is submitted, what it says, what to call it, and what to warn of;
    and what it was before, if it was a notebook. ``artifacts``: its root artifacts that are Python objects of its file,
    as a submission names them; empty entries where they are not kept (see :func:`read_source`)."""

    text: str
    pipeline: Pipeline
    origin: str
    warnings: tuple[str, ...] = ()
    notebook: NotebookPlan | None = None
    artifacts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is to be run. ``containers``: docker, podman, subprocess or "" (whichever engine there is).
    ``parallel``: in how many processes a notebook's tasks may run at once.
    ``script``: nobody sits in front of it, the service may leave soon after."""

    setup_path: str = ""
    name: str = ""
    experiment: str = ""
    cache: bool = True
    containers: str = ""
    priority: int = 0
    parallel: int = 1
    script: bool = False


def read_source(reference: str, home: Home | None = None) -> Source:
    """Load and validate FILE: compiled YAML or JSON, a package, a ``.py`` with a pipeline (``FILE.py:name``), or a
    notebook (``.ipynb``, or ``.py`` in the percent format).

    Args:
        home: for a run: where Python objects that a ``.py`` pipeline takes as artifacts are kept.

    Raises:
        InvalidPipeline: with every finding.
        NotFound: there is no such file.
        InvalidInput: a ``.py`` that cannot be compiled (see ``sdk.pipeline_file``).
    """
    file, name = split_reference(reference)
    if not name and file.endswith((".ipynb", ".py")):
        from mlplatform.notebook.read import is_notebook

        if is_notebook(_existing(file)):
            return _notebook(file)
    if file.endswith(".py"):
        from mlplatform.sdk.pipeline_file import compile_file  # a process of its own

        compiled = compile_file(_existing(file), name, home=home)
        return replace(_source(compiled.document, reference, compiled.warnings), artifacts=compiled.objects)
    document = package.read_file(_existing(file))
    return _source(document.data, document.origin, ())


def _notebook(file: str) -> Source:
    """A notebook, compiled to the pipeline that runs it."""
    from mlplatform.planning.checking import require_runnable
    from mlplatform.sdk.notebook_submit import compile_notebook

    planned, pipeline, text = compile_notebook(file)
    require_runnable(pipeline, file)
    return Source(text, pipeline, file, (), planned)


def _source(data: bytes, origin: str, warnings: tuple[str, ...]) -> Source:
    from mlplatform.planning.checking import require_runnable  # it loads the expression checker

    pipeline = loads(data, origin=origin)
    require_runnable(pipeline, origin)
    return Source(_text(data), pipeline, origin, warnings)


def split_reference(reference: str) -> tuple[str, str]:
    """``FILE.py:name`` as (file, name); the name is empty where none is given."""
    file, colon, name = reference.rpartition(":")
    if colon and file.endswith(".py") and not os.path.exists(reference):
        return file, name
    return reference, ""


def _existing(file: str) -> str:
    """Raises NotFound with files of a similar name."""
    path = Path(file)
    if path.is_dir():
        raise NotFound(f"{file!r} is a folder, not a pipeline file.", hint="Name the YAML, JSON, package or .py in it.")
    if path.exists():
        return file
    import difflib

    folder = path.parent
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    hint = f"Did you mean {str(folder / close[0])!r}?" if close else "Check the path."
    raise NotFound(f"There is no file {file!r}.", hint=hint)


def _text(data: bytes) -> str:
    """The text of a document that was loaded (so it decodes): UTF-8, or UTF-16 with a byte order mark."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return data.decode(encoding)


# ------------------------------------------------------------------ parameters
def read_parameters(
    pipeline: Pipeline, assignments: Sequence[str] = (), file: str = "", *, quoted: bool = False
) -> dict[str, JsonValue]:
    """Parameters from ``--params FILE.json`` and ``-p NAME=VALUE`` (which win), typed as the pipeline declares them.

    A string stays as it was typed; every other type is JSON.

    Args:
        quoted: a string may be JSON too (``-p 'name="a b"'``), as the parameters of notebooks may.

    Raises:
        InvalidParameters: something typed is no value, with every finding about the parameters.
        NotFound: there is no such file.
    """
    values: dict[str, JsonValue] = dict(_read_object(file)) if file else {}
    findings: list[Finding] = []
    specs = pipeline.root.inputs.parameters
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            hint = "write -p NAME=VALUE"
            findings.append(Finding("", f"-p {assignment!r} does not name a value", "bad-parameter", hint))
            continue
        type_ = specs[name].type if name in specs else ParameterType.STRING
        if quoted and type_ is ParameterType.STRING:
            text = _unquoted(text)
        try:
            values[name] = parse_value(text, type_)
        except ValueError as error:
            example = _EXAMPLES.get(type_, "").format(name=name)
            hint = f"write {example}" if example else "write it as JSON"
            findings.append(Finding(child("parameters", name), str(error), "wrong-type", hint))
    if findings:
        _, more = check_arguments(pipeline, values)
        told = {finding.path for finding in findings}
        findings += [finding for finding in more if finding.path not in told and finding.path.startswith("parameters")]
        raise InvalidParameters(_refused(pipeline), findings=findings)
    return values


def _unquoted(text: str) -> str:
    """A text that is a string in JSON's quotes, without them; any other as it is."""
    try:
        found: object = json.loads(text) if text[:1] == text[-1:] == '"' else text
    except ValueError:
        return text
    return found if isinstance(found, str) else text


def parse_value(text: str, type_: ParameterType) -> JsonValue:
    """What somebody typed, as a value of ``type_``. Whether it fits is ``check_arguments``' business.

    Raises:
        ValueError: it is not JSON where JSON is needed.
    """
    if type_ is ParameterType.STRING:
        return text
    word = text.strip()
    if type_ is ParameterType.BOOLEAN and word.lower() in ("true", "false"):
        return word.lower() == "true"
    try:
        return cast(JsonValue, json.loads(word))
    except (ValueError, RecursionError):
        raise ValueError(f"expected {type_.value}, got {preview(text)}") from None


def _read_object(file: str) -> Mapping[str, JsonValue]:
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise NotFound(f"The parameter file {file!r} cannot be read: {reason}.", hint="Check the path.") from None
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidParameters(
            f"The parameter file {file!r} is not JSON: {error}.", hint='Write one object: {"name": value, ...}.'
        ) from None
    if not isinstance(found, dict):
        raise InvalidParameters(
            f"The parameter file {file!r} must hold one JSON object.", hint='Write {"name": value, ...}.'
        )
    return cast("dict[str, JsonValue]", found)


def _refused(pipeline: Pipeline) -> str:
    return f"Pipeline {pipeline.name!r} cannot be run with these parameters."


# ------------------------------------------------------------------ submission
def build(
    source: Source, parameters: Mapping[str, JsonValue], options: Options, home: Home | None = None
) -> dict[str, Any]:
    """The arguments of the service's ``submit``, checked as far as that goes without it.

    Args:
        home: where the run will be kept, the default one if not given.

    Raises:
        InvalidParameters: parameters, the setup file or root artifacts have findings.
        Unsupported: the container engine that was asked for is not there.
    """
    setup_path = os.path.abspath(options.setup_path) if options.setup_path else ""
    given = {name: Artifact.from_json({"name": name, **entry}) for name, entry in source.artifacts.items() if entry}
    artifacts = {**_root_artifacts(source.pipeline, setup_path), **given}
    _, findings = check_arguments(source.pipeline, parameters, artifacts)
    if findings:
        raise InvalidParameters(_refused(source.pipeline), findings=findings)
    _check_containers(options.containers)
    submission = {
        "document": source.text,
        "parameters": dict(parameters),
        "artifacts": {name: dict(entry) for name, entry in source.artifacts.items() if entry},
        "setup_path": setup_path or None,
        "name": options.name,
        "experiment": options.experiment,
        "tags": {},
        "cache": options.cache,
        "containers": options.containers or None,
        "priority": options.priority,
        "parallel": options.parallel,
        "script": options.script,
        "origin": _absolute(source.origin),
        **surroundings(),
    }
    if source.notebook is not None:
        from mlplatform.sdk.notebook_submit import submission_of

        submission |= submission_of(source.notebook, home)
        submission["experiment"] = options.experiment or submission["experiment"]
    return submission


def _absolute(reference: str) -> str:
    """The file a pipeline came from, named so that it is found again from elsewhere; "" if it was none."""
    file, name = split_reference(reference)
    if not file or not os.path.exists(file):
        return ""
    return os.path.abspath(file) + (f":{name}" if name else "")


def surroundings() -> dict[str, Any]:
    """What a submission takes from the process that makes it."""
    return {"interpreter": interpreter(), "cwd": os.getcwd(), "env": dict(os.environ)}


def interpreter() -> dict[str, Any]:
    """The Python that tasks run in: this one."""
    version = ".".join(str(number) for number in sys.version_info[:3])
    return {"executable": sys.executable, "version": version, "sys_path": []}


def _root_artifacts(pipeline: Pipeline, setup_path: str) -> Mapping[str, Any]:
    if not setup_path:
        return {}
    from mlplatform.engine.submission import read_setup, root_artifacts

    types = {name: spec.type.schema_title for name, spec in pipeline.root.inputs.artifacts.items()}
    return root_artifacts(read_setup(setup_path), types)


def _check_containers(wanted: str) -> None:
    import shutil

    if wanted in ("docker", "podman") and shutil.which(wanted) is None:
        other = "podman" if wanted == "docker" else "docker"
        there = f"--containers {other} is there." if shutil.which(other) else f"Install {wanted}."
        raise Unsupported(
            f"The container engine {wanted} is not on this machine.",
            hint=f"{there} With --containers subprocess, commands of container tasks run on this machine directly.",
        )
