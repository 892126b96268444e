"""What a task asks for, as numbers."""

from __future__ import annotations

import pytest

from mlplatform.core.errors import PlanningError
from mlplatform.ir.model import Accelerator, Resources
from mlplatform.planning.resources import NO_NEEDS, Needs, needs


def test_requests_count_before_limits() -> None:
    assert needs(None) == NO_NEEDS
    assert needs(Resources()) == Needs()
    both = needs(Resources("500m", "2", "1Gi", "2G"))
    assert (both.cpu, both.memory) == (0.5, 2**30)
    limits = needs(Resources(cpu_limit="2", memory_limit="1.5G"))
    assert (limits.cpu, limits.memory) == (2.0, 1_500_000_000)
    assert needs(Resources(cpu_limit=" ")) == Needs()


@pytest.mark.parametrize(
    ("accelerator", "gpus", "kind"),
    [
        (Accelerator("nvidia.com/gpu", "2"), 2, "nvidia.com/gpu"),
        (Accelerator("NVIDIA_TESLA_K80", ""), 1, "NVIDIA_TESLA_K80"),
        (Accelerator("nvidia-l4", "0"), 0, "nvidia-l4"),
        (Accelerator("", "3"), 3, ""),
        (Accelerator("", ""), 0, ""),
    ],
)
def test_gpus(accelerator: Accelerator, gpus: int, kind: str) -> None:
    found = needs(Resources(accelerator=accelerator))
    assert (found.gpus, found.accelerator, found.notes) == (gpus, kind, ())


def test_other_accelerators_are_noted() -> None:
    found = needs(Resources(accelerator=Accelerator("cloud.example/tpu", "4")))
    assert found.gpus == 0
    assert found.notes == ("accelerator cloud.example/tpu is not a GPU: nothing is reserved for it",)


@pytest.mark.parametrize(
    ("resources", "reason"),
    [
        (Resources(cpu_request="many"), "CPU request: 'many' is not a Kubernetes quantity"),
        (Resources(cpu_request="1", cpu_limit="2 cores"), "CPU limit: '2 cores' is not"),
        (Resources(memory_limit="-1Gi"), "memory limit: '-1Gi' is negative"),
        (Resources(accelerator=Accelerator("gpu", "1.5")), "accelerator count '1.5' is not a whole number"),
        (Resources(accelerator=Accelerator("gpu", "x")), "accelerator count 'x' is not a whole number"),
    ],
)
def test_texts_that_are_no_quantities(resources: Resources, reason: str) -> None:
    with pytest.raises(PlanningError) as caught:
        needs(resources)
    assert reason in caught.value.message
