"""The statement behind a page of runs: one, and as fast with a hundred thousand runs as with ten.

Several states are several ordered walks over an index, each stopped after one page, then merged: no database sorts all
runs of the common states to show fifty of them. Tags walk their own index, which is in run order as well, unless only
states are asked for that few runs are in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlplatform.core.states import RunState
from mlplatform.store.codec import to_key
from mlplatform.store.rows import RUN

#: Nearly all runs end in these.
_COMMON = frozenset({RunState.SUCCEEDED, RunState.FAILED})


def page_of_runs(
    *,
    states: Sequence[str],
    experiment: str,
    pipeline: str,
    tags: Mapping[str, str],
    before: str,
    limit: int,
) -> tuple[str, list[Any]]:
    """(SQL, parameters) of a page, newest first. Empty filters do not filter."""
    equal = {"experiment": experiment, "pipeline": pipeline}
    where = [f"r.{name} = ?" for name, value in equal.items() if value]
    values: list[Any] = [to_key(value) for value in equal.values() if value]
    if tags and (not states or not _COMMON.isdisjoint(states)):
        return _by_tags(tags, states, where, values, before, limit)
    for name, value in tags.items():
        where.append("EXISTS (SELECT 1 FROM mlp_run_tags t WHERE t.tag = ? AND t.value = ? AND t.run_id = r.run_id)")
        values += [to_key(name), to_key(value)]
    if before:
        where.append("r.run_id < ?")
        values.append(to_key(before))
    branches: list[str] = []
    parameters: list[Any] = []
    for state in states or ("",):
        terms = [*where, "r.state = ?"] if state else where
        condition = f" WHERE {' AND '.join(terms)}" if terms else ""
        branches.append(f"SELECT r.run_id FROM mlp_runs r{condition} ORDER BY r.run_id DESC LIMIT ?")  # noqa: S608
        parameters += [*values, *([state] if state else []), limit]
    if len(branches) == 1:
        return _rows_of(branches[0]), parameters
    merged = " UNION ALL ".join(f"SELECT run_id FROM ({branch}) b{n}" for n, branch in enumerate(branches))  # noqa: S608
    return _rows_of(f"SELECT run_id FROM ({merged}) merged ORDER BY run_id DESC LIMIT ?"), [*parameters, limit]  # noqa: S608


def _by_tags(
    tags: Mapping[str, str], states: Sequence[str], where: list[str], values: list[Any], before: str, limit: int
) -> tuple[str, list[Any]]:
    """``CROSS JOIN`` keeps SQLite from beginning with another table than the first tag's."""
    tables = " CROSS JOIN ".join(f"mlp_run_tags t{n}" for n in range(len(tags)))
    terms = [f"t{n}.tag = ? AND t{n}.value = ?" for n in range(len(tags))]
    terms += [f"t{n}.run_id = t0.run_id" for n in range(1, len(tags))]
    parameters: list[Any] = [to_key(text) for pair in tags.items() for text in pair]
    terms.append("r.run_id = t0.run_id")
    if states:
        terms.append(f"r.state IN ({', '.join('?' * len(states))})")
        parameters += states
    terms += where
    parameters += values
    if before:
        terms.append("t0.run_id < ?")
        parameters.append(to_key(before))
    sql = f"SELECT r.run_id FROM {tables} CROSS JOIN mlp_runs r WHERE {' AND '.join(terms)}"  # noqa: S608
    return _rows_of(sql + " ORDER BY t0.run_id DESC LIMIT ?"), [*parameters, limit]


def _rows_of(ids: str) -> str:
    columns = ", ".join(f"runs.{name}" for name in RUN)
    return (
        f"SELECT {columns} FROM ({ids}) page "  # noqa: S608 - our own names
        "JOIN mlp_runs runs ON runs.run_id = page.run_id ORDER BY runs.run_id DESC"
    )
