"""The statement behind a page of runs: one, and as fast with a hundred thousand runs as with ten.

Several states are several ordered walks over an index, each stopped after one page, then merged: no database sorts all
runs of the common states to show fifty of them. Tags walk their own index, which is in run order as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlplatform.store.codec import to_key
from mlplatform.store.rows import RUN


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
    ids, parameters = _by_tags(tags, states) if tags else ("", [])
    equal = {"experiment": experiment, "pipeline": pipeline}
    where = [f"r.{name} = ?" for name, value in equal.items() if value]
    values: list[Any] = [to_key(value) for value in equal.values() if value]
    if before:
        where.append(f"{'t0' if tags else 'r'}.run_id < ?")
        values.append(to_key(before))
    if tags:
        sql = ids + "".join(f" AND {term}" for term in where) + " ORDER BY t0.run_id DESC LIMIT ?"
        return _rows_of(sql), [*parameters, *values, limit]
    branches: list[str] = []
    for state in states or ("",):
        terms = [*where, "r.state = ?"] if state else where
        condition = f" WHERE {' AND '.join(terms)}" if terms else ""
        branches.append(f"SELECT r.run_id FROM mlp_runs r{condition} ORDER BY r.run_id DESC LIMIT ?")  # noqa: S608
        parameters += [*values, *([state] if state else []), limit]
    if len(branches) == 1:
        return _rows_of(branches[0]), parameters
    merged = " UNION ALL ".join(f"SELECT run_id FROM ({branch}) b{n}" for n, branch in enumerate(branches))  # noqa: S608
    return _rows_of(f"SELECT run_id FROM ({merged}) merged ORDER BY run_id DESC LIMIT ?"), [*parameters, limit]  # noqa: S608


def _by_tags(tags: Mapping[str, str], states: Sequence[str]) -> tuple[str, list[Any]]:
    """``CROSS JOIN`` keeps SQLite from beginning with another table than the first tag's."""
    tables = "mlp_run_tags t0" + "".join(f" CROSS JOIN mlp_run_tags t{n}" for n in range(1, len(tags)))
    terms = [f"t{n}.tag = ? AND t{n}.value = ?" for n in range(len(tags))]
    terms += [f"t{n}.run_id = t0.run_id" for n in range(1, len(tags))]
    parameters: list[Any] = [to_key(text) for pair in tags.items() for text in pair]
    terms.append("r.run_id = t0.run_id")
    if states:
        terms.append(f"r.state IN ({', '.join('?' * len(states))})")
        parameters += states
    sql = f"SELECT r.run_id FROM {tables} CROSS JOIN mlp_runs r WHERE {' AND '.join(terms)}"  # noqa: S608
    return sql, parameters


def _rows_of(ids: str) -> str:
    columns = ", ".join(f"runs.{name}" for name in RUN)
    return (
        f"SELECT {columns} FROM ({ids}) page JOIN mlp_runs runs ON runs.run_id = page.run_id ORDER BY runs.run_id DESC"  # noqa: S608
    )
