"""What a task asks of the cluster: requests, limits, accelerators and the nodes that have them."""

from __future__ import annotations

from typing import Any, Final

from mlplatform.core.errors import PlanningError
from mlplatform.core.quantities import parse_quantity
from mlplatform.ir.model import Accelerator, Resources

GPU: Final = "nvidia.com/gpu"
#: Labels by which nodes tell their GPU: NVIDIA's feature discovery, and Google's.
PRODUCT: Final = "nvidia.com/gpu.product"
GKE: Final = "cloud.google.com/gke-accelerator"


def container_resources(asked: Resources | None) -> dict[str, Any]:
    """``resources`` of the task's container. Raises PlanningError for what is no quantity."""
    if asked is None:
        return {}
    requests = {"cpu": asked.cpu_request, "memory": asked.memory_request}
    limits = {"cpu": asked.cpu_limit, "memory": asked.memory_limit}
    resource, count, _ = accelerator(asked.accelerator)
    if resource and count:
        limits[resource] = str(count)
    told = {
        "requests": {name: _quantity(text) for name, text in requests.items() if text.strip()},
        "limits": {name: _quantity(text) for name, text in limits.items() if text.strip()},
    }
    return {name: table for name, table in told.items() if table}


def _quantity(text: str) -> str:
    try:
        parse_quantity(text)
    except ValueError as error:
        raise PlanningError(str(error)) from None
    return text.strip()


def accelerator(asked: Accelerator | None) -> tuple[str, int, str]:
    """(resource name, count, product wanted): ``nvidia.com/gpu`` is a resource, ``NVIDIA_TESLA_K80`` a product of it.

    Raises:
        PlanningError: the count is no whole number, or the type is not known.
    """
    if asked is None or not (asked.type.strip() or asked.count.strip()):
        return "", 0, ""
    text = asked.count.strip() or "1"
    try:
        value = parse_quantity(text)
    except ValueError:
        value = None
    if value is None or value < 0 or value != value.to_integral_value():
        raise PlanningError(f"accelerator count {text!r} is not a whole number")
    kind = asked.type.strip() or GPU
    if "/" in kind:
        return kind, int(value), ""
    if "nvidia" in kind.lower() or "gpu" in kind.lower():
        return GPU, int(value), kind
    raise PlanningError(
        f"accelerator type {kind!r} is not known",
        hint="Name the resource that nodes offer, such as nvidia.com/gpu or google.com/tpu.",
    )


def product_terms(product: str) -> list[dict[str, Any]]:
    """Node selector terms, any of which will do, for a GPU product such as ``NVIDIA_TESLA_K80``."""
    plain = product.replace("_", "-")
    short = plain.split("-", 1)[1] if plain.lower().startswith("nvidia-") else plain
    names = dict.fromkeys([product, plain, short, f"NVIDIA-{short}", short.title(), f"Tesla-{short.split('-')[-1]}"])
    return [
        {"matchExpressions": [{"key": PRODUCT, "operator": "In", "values": sorted(names)}]},
        {"matchExpressions": [{"key": GKE, "operator": "In", "values": [plain.lower()]}]},
    ]
