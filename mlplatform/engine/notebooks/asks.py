"""What tasks of a notebook ask for that the others do not have: then they run in a process of their own."""

from __future__ import annotations

from collections.abc import Sequence

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


def images(pipeline: Pipeline, containers: str) -> dict[int, str]:
    """Position in the notebook -> image, for tasks whose cells run in the image that they ask for: those of a run that
    says what runs its containers."""
    found: dict[int, str] = {}
    for executor in pipeline.executors.values() if containers in ("docker", "podman") else ():
        task = recognise_notebook(executor) if isinstance(executor, ContainerExecutor) else None
        if task is not None and isinstance(executor, ContainerExecutor) and executor.image != DEFAULT_IMAGE:
            found[task.position] = executor.image
    return found


def image_note(executor: ContainerExecutor, containers: str) -> str:
    """What is to be said of a task's image where its cells do not run in it; "" if they do, or if it names none."""
    if executor.image == DEFAULT_IMAGE or containers in ("docker", "podman"):
        return ""
    return (
        f"image {executor.image} is for a cluster: here its cells run in the notebook's own Python "
        "(--containers podman or docker runs them in it)"
    )


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
