"""Run notebooks and KFP pipelines on your machine or on Kubernetes, with the same answers.

Importing this is cheap: a name is loaded when it is first used (PEP 562).
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it; importing that would be most of what importing this costs
if TYPE_CHECKING:
    from mlplatform.core.errors import (
        InvalidInput,
        MlPlatformError,
        NotFound,
        RunCancelled,
        RunFailed,
        ServiceError,
        TaskFailed,
        TrainingFailed,
    )
    from mlplatform.core.states import RunState, TaskState
    from mlplatform.sdk.client import LocalClient
    from mlplatform.sdk.define.components import component
    from mlplatform.sdk.define.loading import load_component
    from mlplatform.sdk.define.pipelines import pipeline
    from mlplatform.sdk.define.secrets import secret
    from mlplatform.sdk.define.tasks import task
    from mlplatform.sdk.define.training import Training
    from mlplatform.sdk.notebook import notebook
    from mlplatform.sdk.run import Run
    from mlplatform.sdk.runs import run, runs
    from mlplatform.sdk.training.backends import training_run
    from mlplatform.sdk.training.job import TrainingJob
    from mlplatform.sdk.training.run import TrainingRun
    from mlplatform.server.cluster.connecting import connect

    training: Training  # the module mlplatform.training, which can be called

__version__ = "0.1.0"

__all__ = [
    "InvalidInput",
    "LocalClient",
    "MlPlatformError",
    "NotFound",
    "Run",
    "RunCancelled",
    "RunFailed",
    "RunState",
    "ServiceError",
    "TaskFailed",
    "TaskState",
    "TrainingFailed",
    "TrainingJob",
    "TrainingRun",
    "__version__",
    "component",
    "connect",
    "load_component",
    "notebook",
    "pipeline",
    "run",
    "runs",
    "secret",
    "task",
    "training",
    "training_run",
]

_HOMES = {
    "InvalidInput": "mlplatform.core.errors",
    "LocalClient": "mlplatform.sdk.client",
    "MlPlatformError": "mlplatform.core.errors",
    "NotFound": "mlplatform.core.errors",
    "Run": "mlplatform.sdk.run",
    "RunCancelled": "mlplatform.core.errors",
    "RunFailed": "mlplatform.core.errors",
    "RunState": "mlplatform.core.states",
    "ServiceError": "mlplatform.core.errors",
    "TaskFailed": "mlplatform.core.errors",
    "TaskState": "mlplatform.core.states",
    "TrainingFailed": "mlplatform.core.errors",
    "TrainingJob": "mlplatform.sdk.training.job",
    "TrainingRun": "mlplatform.sdk.training.run",
    "training_run": "mlplatform.sdk.training.backends",
    "notebook": "mlplatform.sdk.notebook",
    "load_ipython_extension": "mlplatform.jupyter.magics",
    "unload_ipython_extension": "mlplatform.jupyter.magics",
    "component": "mlplatform.sdk.define.components",
    "connect": "mlplatform.server.cluster.connecting",
    "load_component": "mlplatform.sdk.define.loading",
    "pipeline": "mlplatform.sdk.define.pipelines",
    "run": "mlplatform.sdk.runs",
    "runs": "mlplatform.sdk.runs",
    "secret": "mlplatform.sdk.define.secrets",
    "task": "mlplatform.sdk.define.tasks",
}


def __getattr__(name: str) -> object:
    if name == "training":  # what scripts talk to, and the decorator
        from importlib import import_module

        return import_module("mlplatform.training")
    module = _HOMES.get(name)
    if module is None:
        raise AttributeError(f"module 'mlplatform' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
