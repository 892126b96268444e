"""Kind ``python``: one lightweight Python component, run through kfp's own runtime executor."""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.util
import json
import linecache
import logging
import os
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

from . import lines, remote
from .failures import AttemptFailed
from .fields import objects, section

#: What kfp calls the module of a component: pickles of classes defined in one name it.
MODULE = "ephemeral_component"
#: Begins the first line of what the SDK writes.
_TOLD = "# mlplatform: "
#: Newest first: where kfp 2 has kept the executor.
_EXECUTORS = ("kfp.dsl.executor", "kfp.components.executor")


def source_file(spec: Mapping[str, Any]) -> str:
    """Where the component's source lies: in the folder that the engine named for it, else beside the result."""
    python = spec["python"]
    name = os.path.basename(python.get("filename") or "") or MODULE + ".py"
    return os.path.join(python.get("folder") or os.path.join(os.path.dirname(spec["result"]), "component"), name)


def run_component(spec: Mapping[str, Any]) -> None:
    """Import the component's source and run its function. Whatever the user's code raises comes out as it is.

    Raises:
        AttemptFailed: kfp's runtime cannot be imported, or the source does not define the function.
    """
    executor_class = None if _is_own(spec) else load_executor()
    if spec.get("fetch") and executor_class is not None:
        remote.install(spec, importlib.import_module("kfp.dsl.types.artifact_types").Artifact)
    logging.basicConfig(
        stream=sys.stdout, format="[%(asctime)s %(levelname)s %(name)s] %(message)s", level=logging.INFO
    )
    module = load_source(spec["python"]["source"], source_file(spec))
    name = spec["python"]["function"]
    function = getattr(module, name, None)
    if function is None:
        raise AttemptFailed("TASK_FAILED", "the component's source does not define %r" % name)
    if spec.get("aside") and hasattr(function, "spec"):
        function.spec = {**function.spec, "outputs": {}}  # of a rank whose answer nobody wants: it may have none
    if executor_class is None:
        function.execute(_fetched(localised(spec), spec))
    else:
        executor_class(executor_input=localised(spec), function_to_execute=function).execute()


def _is_own(spec: Mapping[str, Any]) -> bool:
    """Whether the component brings what runs it (the SDK's do, unless they use kfp's own types)."""
    first = spec["python"]["source"].partition("\n")[0]
    if not first.startswith(_TOLD):
        return False
    try:
        return not json.loads(first[len(_TOLD) :]).get("kfp")
    except (ValueError, AttributeError):
        return False


def load_executor() -> Callable[..., Any]:
    """kfp's executor class. Raises AttemptFailed."""
    problem = ""
    for name in _EXECUTORS:
        try:
            return importlib.import_module(name).Executor
        except ImportError as failure:
            problem = problem or str(failure)
    raise AttemptFailed(
        "ENVIRONMENT_FAILED",
        "kfp's runtime cannot be imported in %s: %s" % (sys.executable, problem),
        hint="Install it there with: pip install 'kfp>=2.0'",
        kind="ImportError",
    )


def load_source(source: str, path: str) -> ModuleType:
    """Execute ``source`` as the module of a file that really is there, so that tracebacks, ``inspect.getsource`` and
    processes that user code spawns find it."""
    folder = os.path.dirname(path)
    if not os.path.exists(path):
        _write_source(source, path)
    sys.path.append(folder)
    linecache.checkcache(path)
    found = importlib.util.spec_from_file_location(MODULE, path)
    if found is None:
        raise AttemptFailed("TASK_FAILED", "the component's source cannot be loaded from " + path)
    module = importlib.util.module_from_spec(found)
    sys.modules[MODULE] = module
    for code in lines.compiled(source, path):
        exec(code, module.__dict__)  # noqa: S102 - that is what a component is
    return module


def _write_source(source: str, path: str) -> None:
    """Other attempts of the same component may do the same at the same time: they write the same."""
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    temporary = "%s.%d" % (path, os.getpid())
    with open(temporary, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(source)
    importable = os.path.join(folder, MODULE + ".py")
    if path != importable:
        with contextlib.suppress(FileExistsError):
            os.symlink(name, importable)
    os.replace(temporary, path)


def localised(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The executor input as kfp can use it: ``file://`` inputs as paths, outputs where the task is to write them."""
    data = copy.deepcopy(dict(spec["executor_input"]))
    for entry in section(data, "inputs", "artifacts").values():
        for artifact in objects(entry, "artifacts"):
            artifact["uri"] = local_uri(artifact.get("uri") or "")
    declared = spec["outputs"]["artifacts"]
    for name, entry in section(data, "outputs", "artifacts").items():
        for artifact in objects(entry, "artifacts"):
            if name in declared and artifact.get("uri") == declared[name]["uri"]:
                artifact["uri"] = declared[name]["path"]
    return data


def _fetched(data: dict[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """The same with remote inputs brought here: the SDK's components read every input before they run."""
    fetch = section(spec, "fetch")
    for entry in section(data, "inputs", "artifacts").values():
        for artifact in objects(entry, "artifacts"):
            if artifact.get("uri") in (fetch.get("uris") or ()):
                artifact["uri"] = remote.local_copy(artifact["uri"], fetch) or artifact["uri"]
    return data


def local_uri(uri: str) -> str:
    """``file://`` as a plain path; anything else unchanged."""
    if uri.startswith("file://"):
        return unquote(urlsplit(uri).path)
    return uri
