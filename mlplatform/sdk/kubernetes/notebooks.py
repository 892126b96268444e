"""Notebooks on a cluster: each task is a pod, begins from what the task before it left in the artifact store, and
leaves such a state for the next (``launcher/notebook/alone.py``). The notebook's folder goes along as the first one.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mlplatform.artifacts import Artifacts
from mlplatform.core.errors import ArtifactError, InvalidInput, NotFound, Unsupported
from mlplatform.core.model import Artifact, AttemptRecord, RunRecord, TaskRecord, Values
from mlplatform.core.states import TaskState
from mlplatform.core.values import child
from mlplatform.engine.home import Home
from mlplatform.engine.notebooks.executed import OUTPUT
from mlplatform.ir.dump import dump
from mlplatform.ir.load import loads
from mlplatform.ir.model import (
    ArtifactSource,
    ArtifactType,
    InputArtifactSpec,
    OutputArtifactSpec,
    PipelineTask,
)
from mlplatform.launcher.digest import digest_path
from mlplatform.launcher.notebook.alone import VERSION
from mlplatform.launcher.notebook.files import store_file
from mlplatform.planning.notebook_component import CELLS, STATE, NotebookTask, document_of, tasks_of
from mlplatform.render.names import shortened
from mlplatform.render.places import RunStore
from mlplatform.sdk.kubernetes.history import PLACE, STORE

#: The run's artifact that holds the notebook's folder.
FOLDER: Final = "notebook-folder"
#: Bytes of a notebook's folder that go along.
MOST: Final = 200 * 1000**2
_LEFT_OUT: Final = frozenset({"__pycache__", "node_modules", "venv", "site-packages"})
_TYPE: Final = ArtifactType(schema_title="system.Artifact", schema_version="0.0.1")


def for_pods(document: str) -> str | None:
    """The pipeline of a notebook, with the artifacts by which its tasks pass on what they leave; None: it is no
    notebook's."""
    pipeline = loads(document)
    order = tasks_of(pipeline)
    if not order or pipeline.root.dag is None:
        return None
    tasks: dict[str, PipelineTask] = dict(pipeline.root.dag.tasks)
    components = dict(pipeline.components)
    before = ArtifactSource(component_input=FOLDER)
    for each in order:
        task = tasks[each.name]
        component = components[task.component]
        inputs = replace(component.inputs, artifacts={STATE: InputArtifactSpec(_TYPE)})
        kept = {STATE: OutputArtifactSpec(_TYPE), CELLS: OutputArtifactSpec(_TYPE)}
        components[task.component] = replace(
            component, inputs=inputs, outputs=replace(component.outputs, artifacts=kept)
        )
        tasks[each.name] = replace(task, artifacts={STATE: before})
        before = ArtifactSource(producer_task=each.name, output_artifact=STATE)
    root = replace(
        pipeline.root,
        dag=replace(pipeline.root.dag, tasks=tasks),
        inputs=replace(pipeline.root.inputs, artifacts={FOLDER: InputArtifactSpec(_TYPE)}),
    )
    return dump(replace(pipeline, root=root, components=components))


def is_notebook(document: str) -> bool:
    return bool(tasks_of(loads(document)))


def kept_folder(home: Home, folder: Path) -> dict[str, Any]:
    """The files beside a notebook, kept by content in the home: as a submission names an artifact.

    Left out are hidden files, notebooks, and what tools put there (environments, caches).

    Raises:
        InvalidInput: they are more than go along.
        ArtifactError: they cannot be read.
    """
    base = home.artifacts / "values"
    base.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=base))
    try:
        found = _files(folder, temporary / "data" / "files")
        (temporary / "data").mkdir(exist_ok=True)
        told = {"version": VERSION, "files": found}
        (temporary / "data" / "state.json").write_text(json.dumps(told, sort_keys=True), encoding="ascii")
        digest, size = digest_path(str(temporary / "data"))
        place = base / digest[7:9] / digest[9:11] / digest.removeprefix("sha256:")
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            (temporary / "data").replace(place)
        return {"uri": str(place), "type": "system.Artifact", "metadata": {}, "digest": digest, "size": size}
    except OSError as error:
        raise ArtifactError(f"The notebook's folder {folder} cannot be read: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _files(folder: Path, store: Path) -> dict[str, str]:
    chosen: list[Path] = []
    size = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _LEFT_OUT)
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith(".") or name.endswith(".ipynb") or not stat.S_ISREG(path.lstat().st_mode):
                continue
            size += path.stat().st_size
            if size > MOST:
                raise InvalidInput(
                    f"The notebook's folder ({folder}) has more than {MOST // 1000**2} MB of files: they go to the "
                    "cluster with it.",
                    hint="Put the notebook into a folder with what it needs, and large data where both can read it "
                    "(s3://...).",
                )
            chosen.append(path)
    return {str(path.relative_to(folder)): store_file(str(path), str(store)) for path in chosen}


#: What is said of ``parallel`` where a notebook goes to a cluster.
ONE_BY_ONE: Final = (
    "On a cluster the tasks of a notebook run one after the other, each from what the one before it left: "
    "parallel changes nothing there."
)


def require_store(store: Mapping[str, Any]) -> None:
    """Raises Unsupported: pods would have nowhere to leave a notebook's variables."""
    if store.get("uri"):
        return
    hint = "Set MLPLATFORM_RUNS_STORE=s3://bucket/prefix (docs/kubernetes.md), or run it on this machine."
    if store.get("claimName"):
        raise Unsupported(
            f"A notebook's store cannot be on a claim ({store['claimName']}): this machine sends the notebook's folder "
            "there and reads the executed notebook from it, and only pods mount a claim.",
            hint=hint,
        )
    raise Unsupported(
        "Tasks of a notebook pass its variables on by the artifact store, and none is set for the cluster.", hint=hint
    )


# ---------------------------------------------------------------------- afterwards
def executed(
    home: Home, run: RunRecord, document: bytes, attempts: Sequence[AttemptRecord], tasks: Sequence[TaskRecord]
) -> RunRecord:
    """A run that has ended with its executed notebook among its outputs, written into the home; unchanged if it is no
    notebook's, or has it.

    Raises:
        ArtifactError, Unsupported: what the cells said cannot be had.
        OSError: the home cannot be written.
    """
    if not run.state.finished or OUTPUT in run.outputs.artifacts or FOLDER not in run.artifacts:
        return run
    from mlplatform.notebook.executed import assemble

    pipeline = loads(document)
    order = tasks_of(pipeline)
    about = {
        "run_id": run.run_id,
        "state": str(run.state),
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "parameters": dict(run.parameters),
    }
    data = assemble(document_of(pipeline), order, _said(run, order, attempts, tasks), run.parameters, about)
    name = os.path.splitext(order[0].notebook or "notebook")[0] + ".ipynb"
    target = home.artifacts / run.run_id / OUTPUT / "1" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(target)
    digest, size = digest_path(str(target))
    artifact = Artifact(OUTPUT, str(target), "system.Artifact", {"format": "ipynb"}, digest, size)
    return replace(run, outputs=Values(run.outputs.parameters, {**run.outputs.artifacts, OUTPUT: artifact}))


def _said(
    run: RunRecord, order: Sequence[NotebookTask], attempts: Sequence[AttemptRecord], tasks: Sequence[TaskRecord]
) -> list[dict[str, Any]]:
    """What the cells of each task said, the one that failed included."""
    known = {task.key.path[-1]: task for task in tasks}
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="mlplatform-cells-") as folder:
        for each in order:
            task = known.get(each.name)
            uri = _cells_uri(run, task, attempts) if task is not None else ""
            if not uri:
                continue
            place = Path(folder, f"{each.position}.json")
            try:
                found.append(json.loads(Artifacts().fetch(uri, place).read_bytes()))
            except (ArtifactError, ValueError):
                if task is not None and task.state in (TaskState.SUCCEEDED, TaskState.CACHED):
                    raise
                # It failed before its first cell.
    return found


def _cells_uri(run: RunRecord, task: TaskRecord, attempts: Sequence[AttemptRecord]) -> str:
    kept = task.outputs.artifacts.get(CELLS)
    if isinstance(kept, Artifact):
        return kept.uri
    own = [one for one in attempts if one.key == task.key]
    if not own:
        return ""
    place, store = child(run.context, PLACE), child(run.context, STORE)
    name = f"{shortened(str(place['name']), 100)}-{str(place['uid'])[:8]}"
    root = f"{str(store['uri']).rstrip('/')}/{place['namespace']}/{name}"
    return RunStore(root).output(task.key, max(one.attempt for one in own), CELLS)


def bring_state(home: Home, run: RunRecord, document: bytes, tasks: Sequence[TaskRecord]) -> None:
    """Fetch what the last task of a notebook that ended well has left, once.

    Raises:
        NotFound: none did. ArtifactError: it cannot be had.
    """
    known = {task.key.path[-1]: task for task in tasks}
    ended = [known[each.name].outputs.artifacts.get(STATE) for each in tasks_of(loads(document)) if each.name in known]
    states = [artifact for artifact in ended if isinstance(artifact, Artifact)]
    if not states:
        raise NotFound(f"run {run.run_id} keeps no values: it has no task of a notebook that ended well")
    target = home.run(run.run_id) / "notebook-state"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        Artifacts().fetch(states[-1].uri, target)
