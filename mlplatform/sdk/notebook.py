"""A plain notebook in Python's hands: ``ml.notebook("train.ipynb").run(lr=0.1)``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlplatform.core.errors import InvalidInput
from mlplatform.core.values import JsonValue
from mlplatform.engine.home import Home, open_home
from mlplatform.notebook.model import NotebookPlan
from mlplatform.sdk.client import require_engine
from mlplatform.sdk.clients import client_of, is_cluster
from mlplatform.sdk.run import Run


@dataclass(frozen=True, slots=True)
class _Options:
    name: str = ""
    experiment: str = ""
    cache: bool = True
    priority: int = 0
    parallel: int = 1
    tags: Mapping[str, str] | None = None
    backend: str = "local"
    context: str = ""
    namespace: str = ""


class NotebookPipeline:
    """A notebook that can be run as a pipeline. It is read anew whenever it is run or looked at.

    Args:
        path: the ``.ipynb`` file, or a ``.py`` script in the percent format.
        home: where its runs are kept (``MLPLATFORM_HOME`` or ``~/.mlplatform`` if not given).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        home: str | os.PathLike[str] | Home | None = None,
        options: _Options | None = None,
    ) -> None:
        self.path = Path(path)
        self._home = home if isinstance(home, Home) else open_home(home)
        self._options = options or _Options()

    @property
    def plan(self) -> NotebookPlan:
        """How it becomes a pipeline now: its tasks, their cells, its parameters.

        Raises:
            InvalidPipeline, NotFound, Unsupported: it is no notebook that can be run; every finding is told.
        """
        return self._source().notebook

    def options(
        self,
        *,
        name: str | None = None,
        experiment: str | None = None,
        cache: bool | None = None,
        priority: int | None = None,
        parallel: int | None = None,
        tags: Mapping[str, str] | None = None,
        backend: str | None = None,
        context: str | None = None,
        namespace: str | None = None,
        home: str | os.PathLike[str] | None = None,
    ) -> NotebookPipeline:
        """The same notebook with these options; those not given stay.

        Args:
            name: a name for the run.
            experiment: where the run is kept; by default the project and the notebook's name.
            cache: False runs every task, whatever could be reused.
            priority: tasks of runs with more go first.
            parallel: so many tasks may run at once, each in a process of its own, where it is proven afterwards that
                order did not matter to them; the others run in order.
            tags: tags of the run.
            backend: ``"local"``, or ``"kubernetes"``: each task is a pod of a cluster, and the files beside the
                notebook go along.
            context: of a cluster: the kubeconfig's context; default its current one.
            namespace: of a cluster: where the run goes; default the context's.
            home: where its runs are kept.
        """
        given = {
            "name": name,
            "experiment": experiment,
            "cache": cache,
            "priority": priority,
            "parallel": parallel,
            "tags": tags,
            "backend": backend,
            "context": context,
            "namespace": namespace,
        }
        changed: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        place = self._home if home is None else home
        return NotebookPipeline(self.path, place, replace(self._options, **changed))

    def run(self, **parameters: JsonValue) -> Run:
        """Run it and return at once; ``run.wait()`` waits for the end.

        Args:
            parameters: values for its parameters; they are set at the end of its parameters cell.

        Raises:
            InvalidParameters: there is no such parameter, or a value does not fit; every finding is told.
            InvalidPipeline, NotFound, Unsupported: it is no notebook that can be run.
        """
        from mlplatform.sdk import submit

        chosen = self._options
        home = self._home_of_runs()
        if not is_cluster(home):
            require_engine()
        elif chosen.parallel > 1:
            from mlplatform.sdk.kubernetes.notebooks import ONE_BY_ONE

            warnings.warn(ONE_BY_ONE, stacklevel=2)
        source = self._source()
        options = submit.Options(
            name=chosen.name,
            experiment=chosen.experiment,
            cache=chosen.cache,
            priority=chosen.priority,
            parallel=chosen.parallel,
        )
        submission = submit.build(source, parameters, options, home)
        submission["tags"] = {**submission["tags"], **(chosen.tags or {})}
        return Run(home, client_of(home).submit(submission), self)

    def _home_of_runs(self) -> Home:
        """Raises Unsupported, and KubernetesError where no cluster is configured."""
        from mlplatform.sdk.define.pipelines import RunOptions
        from mlplatform.sdk.submitting import check_backend

        chosen = self._options
        if chosen.backend == "kubernetes":
            from mlplatform.sdk.kubernetes.home import cluster_home

            place = None if self._home.root == open_home().root else self._home.root
            return cluster_home(chosen.context, chosen.namespace, place)
        check_backend(RunOptions(backend=chosen.backend, context=chosen.context, namespace=chosen.namespace))
        return self._home

    def document(self) -> str:
        """The pipeline it compiles to now, as a document that the service and ``mlplatform run`` take."""
        return self._source().text

    def _source(self) -> Any:
        from mlplatform.sdk import submit

        source = submit.read_source(str(self.path))
        if source.notebook is None:
            raise InvalidInput(
                f"{str(self.path)!r} is not a notebook.",
                hint="Name an .ipynb file, or a .py with # %% cells; `mlplatform run` runs pipelines of any kind.",
            )
        return source

    def __repr__(self) -> str:
        from mlplatform.core.errors import MlPlatformError
        from mlplatform.notebook.show import rows

        try:
            plan = self.plan
        except MlPlatformError as error:
            return f"<notebook {str(self.path)!r}: {error.message}>"
        count = len(plan.tasks)
        lines = [f"notebook {str(self.path)!r}: {count} {'task' if count == 1 else 'tasks'} ({plan.split_by})"]
        found = rows(plan)
        widths = [max(len(row[column]) for row in found) for column in range(len(found[0]))]
        lines += [
            "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in found
        ]
        if plan.parameters:
            lines.append("  parameters: " + ", ".join(f"{each.name} = {each.default!r}" for each in plan.parameters))
        return "\n".join(lines)


def notebook(path: str | os.PathLike[str], *, home: str | os.PathLike[str] | None = None) -> NotebookPipeline:
    """A notebook as a pipeline.

    >>> notebook("train.ipynb").run(lr=0.1)  # doctest: +SKIP

    Args:
        path: the ``.ipynb`` file, or a ``.py`` script in the percent format.
        home: where its runs are kept.
    """
    return NotebookPipeline(path, home)
