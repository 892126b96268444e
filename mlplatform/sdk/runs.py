"""Runs of a home: one by what somebody calls it, or a table of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from mlplatform.core.errors import InvalidInput, NotFound
from mlplatform.core.model import RunRecord
from mlplatform.core.states import RunState
from mlplatform.engine.home import open_home
from mlplatform.sdk.records import open_records
from mlplatform.sdk.run import Run
from mlplatform.sdk.run_table import RunTable

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingTypeStubs]


def run(reference: str = "latest", *, home: str | os.PathLike[str] | None = None) -> Run:
    """The run somebody means: by its id, a unique beginning of it, its name (the newest wins) or ``latest``.

    >>> run("latest").outputs  # doctest: +SKIP

    Raises:
        NotFound: there is none.
    """
    place = open_home(home)
    with open_records(place) as store:
        return Run(place, store.find_run(reference).run_id)


def runs(
    experiment: str = "",
    state: str | RunState | Iterable[str | RunState] = (),
    pipeline: str = "",
    tags: dict[str, str] | None = None,
    limit: int = 100,
    *,
    home: str | os.PathLike[str] | None = None,
) -> pandas.DataFrame:
    """Runs as a table, the newest first, one row each.

    Columns: ``run_id, name, state, experiment, pipeline, created`` (UTC), ``seconds``, then one column for each
    parameter (``params.NAME``), each plain output (``outputs.NAME``) and each tag (``tags.NAME``).

    Args:
        state: one state or several, in any case: ``"failed"``, ``["running", "pending"]``.
        tags: only runs that have all of these.
        limit: at most so many.

    Returns:
        a pandas DataFrame; where pandas is not installed, a list of dicts that shows itself as a table.

    Raises:
        InvalidInput: there is no such state.
    """
    wanted = [state] if isinstance(state, str) else list(state)
    try:
        with open_records(open_home(home)) as store:
            found = store.list_runs(
                states=[_state(word) for word in wanted],
                experiment=experiment,
                pipeline=pipeline,
                tags=tags or {},
                limit=limit,
            )
    except NotFound:  # nothing has run in this home yet
        found = []
    return table([_row(record) for record in found])


def _state(word: str | RunState) -> RunState:
    try:
        return RunState(str(word).upper())
    except ValueError:
        known = ", ".join(state.lower() for state in RunState)
        raise InvalidInput(f"{word!r} is no state of a run", hint=f"States: {known}.") from None


_COLUMNS = ("run_id", "name", "state", "experiment", "pipeline", "created", "seconds")


def _row(record: RunRecord) -> dict[str, Any]:
    from datetime import UTC, datetime

    known = record.started_at is not None and record.finished_at is not None
    return {
        "run_id": record.run_id,
        "name": record.name,
        "state": str(record.state),
        "experiment": record.experiment,
        "pipeline": record.pipeline,
        "created": datetime.fromtimestamp(int(record.created_at), UTC),
        "seconds": round((record.finished_at or 0.0) - (record.started_at or 0.0), 3) if known else None,
        **{f"params.{name}": value for name, value in record.parameters.items()},
        **{f"outputs.{name}": value for name, value in record.outputs.parameters.items()},
        **{f"tags.{name}": value for name, value in record.tags.items()},
    }


def table(rows: list[dict[str, Any]]) -> pandas.DataFrame:
    """Rows as a DataFrame, or as what stands in for one."""
    columns = list(dict.fromkeys([*_COLUMNS, *(name for row in rows for name in row)]))
    try:
        import pandas  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        return cast("pandas.DataFrame", RunTable(rows, columns))
    return pandas.DataFrame(rows, columns=columns)
