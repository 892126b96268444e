"""The only door to ``kfp``: from a Python file with ``dsl.pipeline`` functions to the document its compiler makes.

The file runs in a child process, as ``python FILE`` would run it (its folder first on ``sys.path``, the caller's
working folder), so that nothing of it stays here, and its traceback is the user's own. What it prints goes to standard
error.
Nothing is kept from one time to the next: a pipeline function may read files, the environment or the clock.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from mlplatform.core.errors import Finding, InvalidInput, InvalidPipeline, NotFound, Unsupported
from mlplatform.ir.findings import did_you_mean
from mlplatform.sdk.kfp_traps import find_traps


@dataclass(frozen=True, slots=True)
class Compiled:
    """``document``: the YAML that kfp wrote; ``name``: the pipeline's name in the file; ``warnings``: what compiles
    but does not mean what it says."""

    document: bytes
    name: str
    warnings: tuple[str, ...]


def compile_file(file: str, name: str = "", python: str = sys.executable) -> Compiled:
    """Compile the pipeline ``name`` of a Python file; the only one it has, if no name is given.

    Args:
        python: the interpreter that has kfp and what the file imports.

    Raises:
        NotFound: there is no such file, or no such pipeline in it.
        InvalidPipeline: the file has no pipeline or several, or its code failed; the user's traceback is a note of
            the error (``__notes__``).
        Unsupported: kfp is not installed.
    """
    try:
        source = Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise NotFound(
            f"The pipeline file {file!r} cannot be read: {error.strerror}.", hint="Check the path."
        ) from None
    with tempfile.TemporaryDirectory(prefix="mlplatform-kfp-") as folder:
        command = [python, "-P", "-m", __name__, os.path.abspath(file), name, folder]
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
    return Compiled(document, told["name"], warnings)


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
            hint = "A pipeline is a function under @dsl.pipeline that calls components."
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
def main(file: str, name: str, folder: str) -> None:
    """Run ``file`` and leave ``told.json`` and ``pipeline.yaml`` in ``folder``."""
    told: dict[str, Any] = {"problem": "", "name": "", "names": [], "message": "", "line": 0, "traceback": ""}
    try:
        import warnings

        warnings.filterwarnings("ignore", message="The default base_image", category=FutureWarning)
        compiler: Any = importlib.import_module("kfp.compiler")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "kfp":
            raise
        told["problem"] = "no-kfp"
    else:
        try:
            module = _load(file)
            chosen = _choose(module, file, name, told)
            if chosen is not None:
                path = str(Path(folder) / "pipeline.yaml")
                compiler.Compiler().compile(chosen, path)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's code raises is told in their words
            told.update(problem="failed", **_users_words(error, file))
    (Path(folder) / "told.json").write_text(json.dumps(told), encoding="utf-8")


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
    base: Any = importlib.import_module("kfp.dsl.base_component").BaseComponent
    graph: Any = importlib.import_module("kfp.dsl.graph_component").GraphComponent
    pipelines: dict[str, Any] = {}
    components: dict[str, Any] = {}
    imported: dict[str, Any] = {}
    for variable, value in vars(module).items():
        if isinstance(value, graph):
            code = getattr(value.pipeline_func, "__code__", None)
            here = code is not None and os.path.abspath(code.co_filename) == file
            (pipelines if here else imported).setdefault(variable, value)
        elif isinstance(value, base):
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
    if filename.startswith("<frozen ") or os.path.abspath(filename) == os.path.abspath(__file__):
        return True
    kfp = sys.modules.get("kfp")
    folder = os.path.dirname(getattr(kfp, "__file__", None) or "")
    return bool(folder) and os.path.abspath(filename).startswith(folder + os.sep)


if __name__ == "__main__":
    main(*sys.argv[1:4])


def document_of(component: Any) -> str:
    """The document that kfp's compiler makes of a component or pipeline object of kfp's own.

    Raises:
        InvalidInput: it cannot be compiled; kfp's own words.
    """
    compiler: Any = importlib.import_module("kfp.compiler")  # its maker has imported kfp already

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        try:
            compiler.Compiler().compile(component, str(path))
        except (ValueError, TypeError, AttributeError, KeyError, RuntimeError) as error:
            raise InvalidInput(f"kfp cannot compile {component!r}: {error}") from error
        return path.read_text(encoding="utf-8")
