"""Tasks that make and remove volume claims: container components whose image is a placeholder that Kubeflow's driver
recognises."""

from __future__ import annotations

from typing import Final

from mlplatform.ir.model import ContainerExecutor

CREATE: Final = "create"
DELETE: Final = "delete"
_IMAGES: Final = {"argostub/createpvc": CREATE, "argostub/deletepvc": DELETE}


def volume_action(executor: object) -> str:
    """``create`` or ``delete`` if the executor stands for CreatePVC or DeletePVC, else "" (an image tag or registry
    makes no difference)."""
    if not isinstance(executor, ContainerExecutor):
        return ""
    image = executor.image.partition("@")[0]
    parts = image.split("/")
    parts[-1] = parts[-1].partition(":")[0]
    return _IMAGES.get("/".join(parts[-2:]), "")
