"""What tasks of a notebook ask for that the others do not have: then they run in a process of their own."""

from __future__ import annotations

from collections.abc import Sequence

from mlplatform.core.errors import Unsupported
from mlplatform.ir.model import ContainerExecutor, Pipeline
from mlplatform.planning.notebook_component import DEFAULT_IMAGE, NotebookTask, recognise_notebook


def asked(pipeline: Pipeline, tasks: Sequence[NotebookTask]) -> list[str]:
    """For each task what it asks for, in words; "" for one that takes what there is."""
    found: dict[int, str] = {}
    for executor in pipeline.executors.values():
        task = recognise_notebook(executor) if isinstance(executor, ContainerExecutor) else None
        if task is not None and isinstance(executor, ContainerExecutor):
            found[task.position] = _of(executor)
    return [found.get(task.position, "") for task in tasks]


def refuse_containers(pipeline: Pipeline, containers: str) -> None:
    """Cells that ask for an image, in a run that says what runs containers.

    Raises:
        Unsupported: there are such; they would run in another Python than this run was told to use for them.
    """
    if containers not in ("docker", "podman"):
        return
    found: dict[int, str] = {}
    for executor in pipeline.executors.values():
        task = recognise_notebook(executor) if isinstance(executor, ContainerExecutor) else None
        if task is not None and isinstance(executor, ContainerExecutor) and executor.image != DEFAULT_IMAGE:
            found[task.position] = f"{task.name} asks for {executor.image}"
    if found:
        told = "; ".join(found[position] for position in sorted(found))
        raise Unsupported(
            f"cells of a notebook do not run in {containers} on this machine ({told})",
            hint="Run it without --containers: all cells then run in the notebook's own Python, and the tasks' logs "
            "say so. What needs its image belongs into a container component of a pipeline.",
        )


def image_note(executor: ContainerExecutor) -> str:
    """What is to be said of a task's image where its cells run on this machine; "" if it names none."""
    if executor.image == DEFAULT_IMAGE:
        return ""
    return f"image {executor.image} is for a cluster: here its cells run in the notebook's own Python"


def _of(executor: ContainerExecutor) -> str:
    words: list[str] = []
    resources = executor.resources
    if resources is not None:
        for name, text in (("CPUs", resources.cpu_limit), ("memory", resources.memory_limit)):
            if text:
                words.append(f"{text} {name}" if name == "CPUs" else f"{name} {text}")
        if resources.accelerator is not None:
            words.append(f"{resources.accelerator.count} of {resources.accelerator.type}")
    if executor.image != DEFAULT_IMAGE:
        words.append(f"image {executor.image}")
    return "it asks for " + ", ".join(words) if words else ""
