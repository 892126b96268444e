"""The statement behind a list of artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlplatform.core.records import ArtifactLink
from mlplatform.store import rows
from mlplatform.store.codec import to_text
from mlplatform.store.database import Database
from mlplatform.store.runlist import containing

#: (run, path, iteration, name, position), as they stand in the columns.
Place = tuple[str, str, str, str, int]


def artifact_page(
    database: Database, words: Sequence[str], type_: str, run_id: str, after: Place | None, limit: int
) -> list[tuple[ArtifactLink, Place]]:
    """See ``runstore.artifact_page``."""
    where, values = ["role = 'output'"], list[Any]()
    for word in words:
        where.append("(name LIKE ? ESCAPE '!' OR uri LIKE ? ESCAPE '!')")
        values += [containing(to_text(word))] * 2
    for column, value in (("type", type_), ("run_id", run_id)):
        if value:
            where.append(f"{column} = ?")
            values.append(to_text(value))
    if after is not None:
        where.append("(run_id < ? OR (run_id = ? AND (path, iteration, name, position) > (?, ?, ?, ?)))")
        values += [after[0], *after]
    found = database.rows(
        f"SELECT {', '.join(rows.LINK)} FROM mlp_artifacts WHERE {' AND '.join(where)} "  # noqa: S608 - our own names
        "ORDER BY run_id DESC, path, iteration, name, position LIMIT ?",
        [*values, limit],
    )
    return [(rows.link_from(row), (row[0], row[1], row[5], row[2], row[7])) for row in found]
