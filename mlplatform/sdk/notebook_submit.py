"""From a notebook file to a submission: what it compiles to, where its runs are kept, where it runs."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from typing import Any, Final, cast

from mlplatform.core.errors import Unsupported
from mlplatform.engine.home import Home, open_home
from mlplatform.ir.model import Pipeline
from mlplatform.notebook.model import NotebookPlan

#: Tag of a notebook's runs: the file, absolute.
TAG: Final = "mlplatform.notebook"


def compile_notebook(file: str) -> tuple[NotebookPlan, Pipeline, str]:
    """The plan of a notebook, its pipeline, and that as the text which is submitted.

    Raises:
        InvalidPipeline, NotFound, Unsupported: see :func:`mlplatform.notebook.read.read_notebook`.
    """
    from mlplatform.ir.dump import to_json
    from mlplatform.notebook.convert import convert
    from mlplatform.notebook.partition import plan
    from mlplatform.notebook.read import read_notebook

    planned = plan(read_notebook(file))
    pipeline = convert(planned)
    # JSON: nobody reads this text, and it is many times faster to write and to read than YAML.
    return planned, pipeline, json.dumps(to_json(pipeline))


def submission_of(plan: NotebookPlan, home: Home | None = None) -> dict[str, Any]:
    """What a notebook's submission says that another pipeline's does not: its folder is where it runs, its project
    and name are its experiment.

    Raises:
        Unsupported: what runs cells is not installed.
    """
    require_shell()
    path = plan.notebook.path
    found: dict[str, Any] = {"cwd": os.path.dirname(path), "tags": {TAG: path}}
    experiment = _kale_experiment(plan) or _experiment(path, home or open_home())
    return {**found, "experiment": experiment} if experiment else found


def require_shell() -> None:
    """Raises Unsupported where IPython, which runs the cells, is missing."""
    if importlib.util.find_spec("IPython") is None:
        raise Unsupported(
            "Cells of notebooks run in IPython, which is not installed in this environment.",
            hint="Install it: pip install 'mlplatform[notebook]'",
        )


def _experiment(path: str, home: Home) -> str:
    """``project/folder/name``: two notebooks of one name in two projects do not share an experiment."""
    from mlplatform.notebook.project import claim_name, project_of

    project = project_of(path)
    try:
        home.prepare()
        return f"{claim_name(home.root / 'projects', project)}/{project.path}"
    except OSError:
        return f"{project.name}/{project.path}"  # the submission will say what is wrong with the home


def _kale_experiment(plan: NotebookPlan) -> str:
    metadata: Any = plan.notebook.document.get("metadata")
    kale: Any = cast("Mapping[str, Any]", metadata).get("kubeflow_notebook") if isinstance(metadata, Mapping) else None
    return str(cast("Mapping[str, Any]", kale).get("experiment_name") or "") if isinstance(kale, Mapping) else ""
