"""``dsl.Model`` outputs as MLflow's logged models, and as versions of registered models where the component says so.

A component asks for registration in the artifact's metadata: ``model.metadata["registered_model_name"] = "digits"``
and, if it likes, ``model.metadata["registered_model_alias"] = "champion"``. A folder that holds an ``MLmodel`` file
(what ``mlflow.<flavor>.save_model(model.path)`` writes) goes to MLflow whole and can be loaded from there; any other
file stays where it is and MLflow knows its address and digest.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlplatform.core.model import Artifact
from mlplatform.core.values import to_text
from mlplatform.tracking import describe
from mlplatform.tracking.ids import reserved_model_id
from mlplatform.tracking.queue import Place, Queue, add


def _mlflow_folder(artifact: Artifact) -> Path | None:
    """The local folder of a model saved by MLflow itself."""
    parts = urlsplit(artifact.uri)
    if parts.scheme not in ("", "file"):
        return None
    folder = Path(unquote(parts.path) if parts.scheme else artifact.uri)
    return folder if (folder / "MLmodel").is_file() else None


def queue_models(db: sqlite3.Connection, models: Sequence[tuple[str, Artifact]], place: Place) -> None:
    """Queue a task's models: created, filled, finished, named as outputs of its run, registered if asked for."""
    run = place.run
    made: list[str] = []
    for name, artifact in models:
        folder = _mlflow_folder(artifact)
        model = reserved_model_id(run, name, artifact.uri + artifact.digest)
        body = describe.model_body(name, artifact, run, loadable=folder is not None)
        db.execute(
            "INSERT OR IGNORE INTO models (id, upstream, run, body, status, created) VALUES (?, ?, ?, ?, ?, 0)",
            (model, place.upstream, run, json.dumps(body), "LOGGED_MODEL_READY"),
        )
        add(db, place, "model", {"model_id": model})
        for file in sorted(folder.rglob("*")) if folder is not None else ():
            if file.is_file() and folder is not None:
                where = {"owner": model, "path": file.relative_to(folder).as_posix()}
                add(db, place, "artifact", where, str(file))
        finish = {"model_id": model, "status": "LOGGED_MODEL_READY"}
        request = {
            "method": "PATCH",
            "target": f"/api/2.0/mlflow/logged-models/{model}",
            "headers": {"content-type": "application/json"},
            "text": json.dumps(finish),
        }
        add(db, place, "raw", request)
        made.append(model)
        _queue_registration(db, artifact, model, place)
    if made:
        add(db, place, "outputs", {"models": [{"model_id": model, "step": 0} for model in made]})


def _queue_registration(db: sqlite3.Connection, artifact: Artifact, model: str, place: Place) -> None:
    registered = artifact.metadata.get(describe.REGISTERED_NAME)
    if not isinstance(registered, str) or not registered:
        return
    alias = artifact.metadata.get(describe.REGISTERED_ALIAS)
    # the same bytes at the same place are the same version, also when a later run reuses them from the cache
    key = reserved_model_id("version", registered, artifact.uri + artifact.digest)[2:]
    request = {"source": f"models:/{model}", "model_id": model, "run_id": place.run}
    if description := artifact.metadata.get("description"):
        request["description"] = to_text(description)
    body = {"name": registered, "key": key, "request": request, "alias": alias if isinstance(alias, str) else ""}
    add(db, place, "register", body)


def queue_documents(db: sqlite3.Connection, queue: Queue, documents: Mapping[str, bytes], place: Place) -> None:
    """Queue small files to be kept with the run."""
    for path, content in documents.items():
        blob = queue.new_blob()
        blob.write_bytes(content)
        add(db, place, "artifact", {"owner": place.run, "path": path}, str(blob))
