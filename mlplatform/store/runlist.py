"""The two statements behind a list of runs: a page, and how many runs are in each state.

As in ``store.listing``, several states are several ordered walks over an index, each stopped after one page, then
merged; and tags begin with their own index. Searching walks an index that holds the searched text.
"""

from __future__ import annotations

from typing import Any, Final

from mlplatform.core.queries import Column, Condition, ListedRun, Operator, RunQuery, Sort
from mlplatform.core.states import RunState, TaskState
from mlplatform.store import rows
from mlplatform.store.codec import from_text, to_key, to_text
from mlplatform.store.database import Database, Row

_SORTS: Final = {
    Sort.CREATED: "r.run_id",
    Sort.FINISHED: "(COALESCE(r.finished_at, 0))",
    Sort.DURATION: "(COALESCE(r.finished_at - r.started_at, 0))",
    Sort.NAME: "r.name",
}
_TEXTS: Final = frozenset({Column.RUN_ID, Column.NAME, Column.STATE, Column.EXPERIMENT, Column.PIPELINE})
#: Nearly all runs end in these.
_COMMON: Final = frozenset({RunState.SUCCEEDED, RunState.FAILED})
_WORDS: Final = 8
_OPEN: Final = ", ".join(f"'{state}'" for state in RunState if not state.finished)
_ENDED: Final = ", ".join(f"'{state}'" for state in TaskState if state.finished)
_TASKS: Final = "SELECT COUNT(*) FROM mlp_tasks t WHERE t.run_id = runs.run_id AND t.is_group = 0"


def run_page(database: Database, query: RunQuery) -> list[ListedRun]:
    """A page. One statement."""
    sql, parameters = page_statement(query)
    return [_listed(row) for row in database.rows(sql, parameters)] if query.limit > 0 else []


def run_counts(database: Database, query: RunQuery) -> dict[str, int]:
    """How many runs of each state there are, whatever states the query asks for. One statement."""
    sql, parameters = counts_statement(query)
    return {str(state): int(count) for state, count in database.rows(sql, parameters)}


def page_statement(query: RunQuery) -> tuple[str, list[Any]]:
    """(SQL, parameters) of a page."""
    way = "DESC" if query.descending else "ASC"
    sort = _SORTS[query.sort]
    where, values = _terms(query)
    if query.after is not None:
        term, more = _behind(query, sort)
        where, values = [*where, term], [*values, *more]
    order = f"{sort} {way}" if query.sort is Sort.CREATED else f"{sort} {way}, r.run_id {way}"
    branches: list[str] = []
    parameters: list[Any] = []
    begin_with_tags = bool(query.tags) and (not query.states or not _COMMON.isdisjoint(query.states))
    if begin_with_tags and query.states:
        where = [*where, f"r.state IN ({', '.join('?' * len(query.states))})"]
        values = [*values, *query.states]
    tables, tag_terms, tag_values = _tags(query, first=begin_with_tags)
    for state in ("",) if begin_with_tags else (query.states or ("",)):
        terms = [*tag_terms, *where, *(["r.state = ?"] if state else [])]
        condition = f" WHERE {' AND '.join(terms)}" if terms else ""
        branches.append(f"SELECT r.run_id, {sort} AS place FROM {tables}{condition} ORDER BY {order} LIMIT ?")  # noqa: S608
        parameters += [*tag_values, *values, *([state] if state else []), query.limit]
    ids = branches[0]
    if len(branches) > 1:
        merged = " UNION ALL ".join(f"SELECT run_id, place FROM ({branch}) b{n}" for n, branch in enumerate(branches))  # noqa: S608
        ids = f"SELECT run_id, place FROM ({merged}) merged ORDER BY place {way}, run_id {way} LIMIT ?"  # noqa: S608
        parameters.append(query.limit)
    columns = ", ".join(f"runs.{name}" for name in rows.RUN)
    return (
        f"SELECT page.place, CASE WHEN runs.state IN ({_OPEN}) THEN ({_TASKS}) END, "  # noqa: S608 - our own names
        f"CASE WHEN runs.state IN ({_OPEN}) THEN ({_TASKS} AND t.state IN ({_ENDED})) END, {columns} "
        f"FROM ({ids}) page JOIN mlp_runs runs ON runs.run_id = page.run_id "
        f"ORDER BY page.place {way}, page.run_id {way}"
    ), parameters


def counts_statement(query: RunQuery) -> tuple[str, list[Any]]:
    """(SQL, parameters) of the counts by state."""
    where, values = _terms(query)
    tables, tag_terms, tag_values = _tags(query, first=True)
    terms = [*tag_terms, *where]
    condition = f" WHERE {' AND '.join(terms)}" if terms else ""
    # An expression keeps SQLite from walking the index on states, which lacks the searched text.
    state = "r.state || ''" if query.text else "r.state"
    return f"SELECT {state}, COUNT(*) FROM {tables}{condition} GROUP BY {state}", [*tag_values, *values]  # noqa: S608


def _terms(query: RunQuery) -> tuple[list[str], list[Any]]:
    terms: list[str] = []
    values: list[Any] = []
    for column, value in (("experiment", query.experiment), ("pipeline", query.pipeline)):
        if value:
            terms.append(f"r.{column} = ?")
            values.append(to_key(value))
    if query.archived is not None:
        terms.append("r.archived = ?")
        values.append(int(query.archived))
    for word in sorted(query.text.lower().split()[:_WORDS], key=len, reverse=True):  # the rarest first
        terms.append("r.search LIKE ? ESCAPE '!'")
        values.append(containing(to_text(word)))
    for condition in query.where:
        term, more = _condition(condition)
        terms.append(term)
        values += more
    return terms, values


def _condition(condition: Condition) -> tuple[str, list[Any]]:
    column = f"r.{condition.column}"
    as_stored = to_key if condition.column in _TEXTS else _number
    if condition.operator is Operator.IN:
        items = [as_stored(value) for value in condition.value]
        return (f"{column} IN ({', '.join('?' * len(items))})", items) if items else ("1 = 0", [])
    if condition.operator is Operator.CONTAINS:
        return f"{column} LIKE ? ESCAPE '!'", [containing(to_text(str(condition.value)))]
    return f"{column} {condition.operator} ?", [as_stored(condition.value)]


def _number(value: Any) -> float | int:
    return value if isinstance(value, int) else float(value)


def containing(text: str) -> str:
    """A pattern for ``LIKE ? ESCAPE '!'``."""
    for special in "!%_":
        text = text.replace(special, "!" + special)
    return f"%{text}%"


def _tags(query: RunQuery, *, first: bool) -> tuple[str, list[str], list[Any]]:
    """Tables, terms and values. ``CROSS JOIN`` keeps SQLite from beginning with another table than the first tag's."""
    values: list[Any] = [to_key(text) for pair in query.tags.items() for text in pair]
    if not first:
        exists = "EXISTS (SELECT 1 FROM mlp_run_tags t WHERE t.tag = ? AND t.value = ? AND t.run_id = r.run_id)"
        return "mlp_runs r", [exists] * len(query.tags), values
    tables = "".join(f"mlp_run_tags t{n} CROSS JOIN " for n in range(len(query.tags)))
    terms = [f"t{n}.tag = ? AND t{n}.value = ?" for n in range(len(query.tags))]
    terms += [f"t{n}.run_id = t0.run_id" for n in range(1, len(query.tags))]
    if query.tags:
        terms.append("r.run_id = t0.run_id")
    return f"{tables}mlp_runs r", terms, values


def _behind(query: RunQuery, sort: str) -> tuple[str, list[Any]]:
    """Behind the last run of the page before."""
    if query.after is None:
        raise AssertionError("there was no page before")
    value, run_id = query.after
    sign = "<" if query.descending else ">"
    if query.sort is Sort.CREATED:
        return f"r.run_id {sign} ?", [to_key(run_id)]
    if query.sort is Sort.NAME:
        value = str(value)  # as it stands in the column
    else:
        value = float(value)
    return f"({sort} {sign}= ? AND ({sort} {sign} ? OR r.run_id {sign} ?))", [value, value, to_key(run_id)]


def _listed(row: Row) -> ListedRun:
    run = rows.run_from(row[3:])
    return ListedRun(run, (row[0], from_text(row[3])), row[1], row[2])
