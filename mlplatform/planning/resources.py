"""What a task asks of a machine, as numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mlplatform.core.errors import PlanningError
from mlplatform.core.quantities import cores, count_bytes, parse_quantity
from mlplatform.ir.model import Accelerator, Resources

_T = TypeVar("_T", float, int)


@dataclass(frozen=True, slots=True)
class Needs:
    """``cpu`` in cores and ``memory`` in bytes (None: nothing asked; a request counts before a limit, as Kubernetes
    schedules), ``cpu_limit`` and ``memory_limit`` what may not be exceeded, ``gpus`` a count. ``accelerator`` is the
    type asked for; ``notes`` say what of the request this machine cannot take into account."""

    cpu: float | None = None
    memory: int | None = None
    gpus: int = 0
    accelerator: str = ""
    notes: tuple[str, ...] = ()
    cpu_limit: float | None = None
    memory_limit: int | None = None


NO_NEEDS = Needs()


def needs(resources: Resources | None) -> Needs:
    """Numbers of resource texts whose placeholders are filled in. Empty texts ask for nothing.

    Raises:
        PlanningError: a text is no Kubernetes quantity, or an accelerator count no whole number.
    """
    if resources is None:
        return NO_NEEDS
    gpus, kind, notes = _accelerators(resources.accelerator)
    return Needs(
        cpu=_first(cores, ("CPU request", resources.cpu_request), ("CPU limit", resources.cpu_limit)),
        memory=_first(
            count_bytes, ("memory request", resources.memory_request), ("memory limit", resources.memory_limit)
        ),
        gpus=gpus,
        accelerator=kind,
        notes=notes,
        cpu_limit=_first(cores, ("CPU limit", resources.cpu_limit)),
        memory_limit=_first(count_bytes, ("memory limit", resources.memory_limit)),
    )


def _first(parse: Callable[[str], _T], *texts: tuple[str, str]) -> _T | None:
    """The first that is given; all of them must be readable."""
    found: _T | None = None
    for what, text in texts:
        if not text.strip():
            continue
        try:
            value = parse(text)
        except ValueError as error:
            raise PlanningError(f"{what}: {error}") from None
        found = value if found is None else found
    return found


def _accelerators(accelerator: Accelerator | None) -> tuple[int, str, tuple[str, ...]]:
    if accelerator is None or not (accelerator.type.strip() or accelerator.count.strip()):
        return 0, "", ()
    text = accelerator.count.strip() or "1"
    try:
        value = parse_quantity(text)
    except ValueError:
        value = None
    if value is None or value < 0 or value != value.to_integral_value():
        raise PlanningError(f"accelerator count {text!r} is not a whole number")
    kind = accelerator.type.strip()
    if kind and not _is_gpu(kind):
        return 0, kind, (f"accelerator {kind} is not a GPU: nothing is reserved for it",)
    return int(value), kind, ()


def _is_gpu(kind: str) -> bool:
    """``nvidia.com/gpu``, ``amd.com/gpu``, and the cloud's names such as ``NVIDIA_TESLA_K80`` or ``nvidia-l4``."""
    name = kind.lower()
    return "gpu" in name or "nvidia" in name
