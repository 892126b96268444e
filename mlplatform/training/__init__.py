"""What a training script may say to the platform, and ask of it. All of it is optional.

::

    from mlplatform import training

    me = training.init()                       # who am I; SIGTERM becomes a wish to save
    last = training.resume_from()              # the newest whole checkpoint, or None
    for step in range(last.step + 1 if last else 0, STEPS):
        ...
        training.report(step, {"loss": loss}, total=STEPS)
        if me.rank == 0 and training.due(step, every=100):
            with training.checkpoint(step) as folder:
                torch.save(model.state_dict(), folder / "model.pt")

A checkpoint is whole or it is not there: it is written beside its place and moved there when all of it is on the disk.
One that was damaged since is passed over. After SIGTERM (the job is suspended, its machine goes away) ``due`` says yes,
and the checkpoint that follows ends the process with exit code 75: "saved, run me again".

``@ml.training(workers=2)`` makes a function a task that several ranks run together: this module can be called, too.

The same script runs by itself (``python train.py``), as a rank on this machine and as a rank in a pod. Standard library
only, Python 3.9 or newer.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from .checkpoints import Checkpoint, CheckpointError
from .session import checkpoint, due, init, report, resume_from, saved, stopping
from .world import Rank, world

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Rank",
    "checkpoint",
    "due",
    "init",
    "report",
    "resume_from",
    "saved",
    "stopping",
    "world",
]


class _Door(ModuleType):
    """``ml.training`` is what scripts talk to, and what makes a function a component of pipelines."""

    def __call__(self, *function: Any, **options: Any) -> Any:
        """``@ml.training(workers=2)``: see ``mlplatform.sdk.define.training.training``. (Where only this package was
        brought to, in a pod, there is nothing to define.)"""
        return importlib.import_module("mlplatform.sdk.define.training").training(*function, **options)


sys.modules[__name__].__class__ = _Door
