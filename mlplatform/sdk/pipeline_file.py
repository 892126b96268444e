"""From a Python file to the document of the pipeline in it: one under ``@ml.pipeline`` or ``@dsl.pipeline``, or kfp's
own, of which kfp's compiler makes it.

The file runs in a child process, as ``python FILE`` would run it (its folder first on ``sys.path``, the caller's
working folder), so that nothing of it stays here, and its traceback is the user's own. What it prints goes to standard
error.
Nothing is kept from one time to the next: a pipeline function may read files, the environment or the clock.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from mlplatform.core.errors import Finding, InvalidPipeline, NotFound, Unsupported
from mlplatform.engine.home import Home, open_home
from mlplatform.ir.findings import did_you_mean
from mlplatform.sdk import kfp
from mlplatform.sdk.kfp_traps import find_traps


@dataclass(frozen=True, slots=True)
class Compiled:
    """``document``: the YAML; ``name``: the pipeline's name in the file; ``warnings``: what compiles
    but does not mean what it says. ``objects``: root artifacts that are Python objects of the file; what a submission
    says of them, empty if they are not kept."""

    document: bytes
    name: str
    warnings: tuple[str, ...]
    objects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])


def compile_file(file: str, name: str = "", python: str = sys.executable, home: Home | None = None) -> Compiled:
    """Compile the pipeline ``name`` of a Python file; the only one it has, if no name is given.

    Args:
        home: where to keep Python objects that the pipeline takes as artifacts, for a run; None to keep none.
        python: the interpreter that has what the file imports (kfp where it says so).

    Raises:
        NotFound: there is no such file, or no such pipeline in it.
        InvalidPipeline: the file has no pipeline or several, or its code failed; the user's traceback is a note of
            the error (``__notes__``).
        Unsupported: it needs kfp, which is not installed.
    """
    try:
        source = Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise NotFound(
            f"The pipeline file {file!r} cannot be read: {error.strerror}.", hint="Check the path."
        ) from None
    with tempfile.TemporaryDirectory(prefix="mlplatform-kfp-") as folder:
        command = [python, "-P", "-m", __name__, os.path.abspath(file), name, folder]
        command += [str(home.root)] if home is not None else []
        # Standard output is the caller's result: what the user's file prints must not mix with it.
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.__stderr__, check=False)
        try:
            told: dict[str, Any] = json.loads((Path(folder) / "told.json").read_bytes())
        except (OSError, ValueError):
            raise InvalidPipeline(
                f"{file} could not be compiled: its process ended with status {done.returncode}.",
                hint=f"Try it alone: {python} {file}",
            ) from None
        if told["problem"]:
            _refuse(file, name, told)
        document = (Path(folder) / "pipeline.yaml").read_bytes()
    warnings = tuple(f"{file}:{trap.line}: `{trap.code}` {trap.message}." for trap in find_traps(source))
    return Compiled(document, told["name"], warnings, told["objects"])


def _refuse(file: str, name: str, told: Mapping[str, Any]) -> NoReturn:
    """Turn what the child told into the error that the user sees."""
    names: list[str] = told["names"]
    match told["problem"]:
        case "no-kfp":
            raise Unsupported(
                f"{file} needs kfp, which is not installed in {sys.executable}.",
                hint="Install it: pip install 'mlplatform[kfp]'. Compiled YAML runs without it.",
            )
        case "none":
            hint = "A pipeline is a function under @ml.pipeline or @dsl.pipeline that calls components."
            if names:
                hint = f"It has the component {names[0]!r}: to run that alone, name it: {file}:{names[0]}"
            raise InvalidPipeline(f"There is no pipeline in {file}.", hint=hint)
        case "several":
            listed = "\n".join(f"  {file}:{each}" for each in names)
            raise InvalidPipeline(f"There are {len(names)} pipelines in {file}. Name one of them:\n{listed}")
        case "unknown":
            hint = did_you_mean(name, names)
            raise NotFound(f"There is no pipeline {name!r} in {file}.", hint=hint[:1].upper() + hint[1:])
        case _:
            where = f"{file}:{told['line']}" if told["line"] else file
            finding = Finding(where, told["message"], "user-code")
            error = InvalidPipeline(f"{file} could not be compiled: its own code failed.", findings=[finding])
            error.add_note(told["traceback"])
            raise error


# ------------------------------------------------------------------ in the child process
def main(file: str, name: str, folder: str, home: str = "") -> None:
    """Run ``file`` and leave ``told.json`` and ``pipeline.yaml`` in ``folder``; Python objects go into ``home``."""
    told: dict[str, Any] = {"problem": "", "name": "", "names": [], "message": "", "line": 0, "traceback": ""}
    told["objects"] = {}
    try:
        warnings.filterwarnings("ignore", message="The default base_image", category=FutureWarning)
        module = _load(file)
        chosen = _choose(module, file, name, told)
        if chosen is not None:
            if _is_own(chosen):
                text, objects = chosen.compiled()
                told["objects"] = _keep(objects, home)
            else:
                text = kfp.compile_object(chosen)
            (Path(folder) / "pipeline.yaml").write_text(text, encoding="utf-8")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's code raises is told in their words
        told.update(problem="failed", **_users_words(error, file))
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "kfp":
            told["problem"] = "no-kfp"
    (Path(folder) / "told.json").write_text(json.dumps(told), encoding="utf-8")


def _keep(objects: Mapping[str, object], home: str) -> dict[str, Any]:
    """What a submission says of objects, by their names. Raises ArtifactError."""
    if not objects or not home:
        return {name: {} for name in objects}
    from mlplatform.sdk.values import keep

    place = open_home(home)
    place.prepare()
    return {name: keep(place, name, value).to_json() for name, value in objects.items()}


def _load(file: str) -> ModuleType:
    """Run the file as a module that is not ``__main__``."""
    sys.path.insert(0, os.path.dirname(file))
    sys.argv = [file]
    stem = Path(file).stem
    spec = importlib.util.spec_from_file_location(stem if stem.isidentifier() else "pipeline_file", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(spec.name, module)
    spec.loader.exec_module(module)
    return module


def _choose(module: ModuleType, file: str, name: str, told: dict[str, Any]) -> Any:
    """The pipeline to compile; None if that is not clear, with the reason in ``told``."""
    pipelines: dict[str, Any] = {}
    components: dict[str, Any] = {}
    imported: dict[str, Any] = {}
    for variable, value in vars(module).items():
        function = _function(value)
        if function is not None:
            code = getattr(function, "__code__", None)
            here = code is not None and os.path.abspath(code.co_filename) == file
            (pipelines if here else imported).setdefault(variable, value)
        elif kfp.is_component(value):
            components[variable] = value
    if name:
        everything = {**components, **imported, **pipelines}
        by_name = {str(getattr(value, "name", "")): value for value in everything.values()}
        found = everything.get(name) or by_name.get(name)
        told.update(name=name, names=sorted(pipelines or imported or components))
        if found is None:
            told["problem"] = "unknown"
        return found
    candidates = pipelines or imported
    unique = {id(value): variable for variable, value in candidates.items()}
    told["names"] = list(unique.values()) or sorted(components)
    if len(unique) != 1:
        told["problem"] = "several" if unique else "none"
        return None
    told["name"] = told["names"][0]
    return candidates[told["name"]]


def _function(value: Any) -> Any:
    """What a pipeline was made of; None for anything else."""
    return value.function if _is_own(value) else kfp.pipeline_function(value)


def _is_own(value: object) -> bool:
    """Whether it is a pipeline of ``mlplatform.sdk.define``, which whoever made one has imported."""
    kind = getattr(sys.modules.get("mlplatform.sdk.define.pipelines"), "Pipeline", None)
    return isinstance(kind, type) and isinstance(value, kind)


def _users_words(error: BaseException, file: str) -> dict[str, Any]:
    """What went wrong, without frames of the platform, the import system and kfp."""
    told = traceback.TracebackException.from_exception(error)
    todo, seen = [told], set[int]()
    while todo:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        kept = [frame for frame in each.stack if not _is_foreign(frame.filename)]
        each.stack = traceback.StackSummary.from_list(kept)
        todo += [other for other in (each.__cause__, each.__context__) if other is not None]
    lines = [frame.lineno or 0 for frame in told.stack if os.path.abspath(frame.filename) == file]
    line = lines[-1] if lines else int(getattr(error, "lineno", 0) or 0)
    message = "".join(told.format_exception_only()).strip().splitlines()[-1]
    if isinstance(error, SystemExit):
        message = f"it calls sys.exit({error.code!r}) when it is imported; put that under if __name__ == '__main__'"
    return {"message": message, "line": line, "traceback": "".join(told.format()).rstrip()}


def _is_foreign(filename: str) -> bool:
    """Frames of the platform, the import system and kfp."""
    path = os.path.abspath(filename)
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folders = [package, os.path.dirname(getattr(sys.modules.get("kfp"), "__file__", None) or "")]
    return filename.startswith("<frozen ") or any(folder and path.startswith(folder + os.sep) for folder in folders)


if __name__ == "__main__":
    main(*sys.argv[1:5])
