"""Reserved ids and the tokens of tasks.

MLflow gives a run its id when it is created, but a task must be able to log before that. So every run has a *reserved*
id, derived from what it is; the gateway speaks reserved ids with tasks and translates them for the real server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: The tag by which a run, model or version made by us is found again on any MLflow server.
RESERVED_TAG = "mlplatform.reserved"
#: MLflow's own experiment, there from the beginning.
DEFAULT_EXPERIMENT = "Default"


def _hex(*parts: Any) -> str:
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def reserved_run_id(run_id: str, task: str = "", iteration: Sequence[int] = ()) -> str:
    """The MLflow run of a run (no ``task``) or of one of its tasks, the same for every attempt."""
    return _hex("run", run_id, task, list(iteration))[:32]


def reserved_child_id(parent: str, fingerprint: str, number: int) -> str:
    """A run that user code made below its task's own run."""
    return _hex("child", parent, fingerprint, number)[:32]


def reserved_model_id(run: str, name: str, mark: str) -> str:
    """A logged model, in MLflow's form."""
    return "m-" + _hex("model", run, name, mark)[:32]


def reserved_experiment_id(name: str) -> str:
    """18 digits that start with 9, by name; MLflow's default experiment keeps its id."""
    if name == DEFAULT_EXPERIMENT:
        return "0"
    return str(9 * 10**17 + int(_hex("experiment", name)[:15], 16) % 10**17)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token stands for: one task of one run. ``upstream`` names the MLflow server its records go to."""

    run: str
    parent: str
    experiment: str
    name: str
    upstream: str
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


def load_secret(folder: Path) -> bytes:
    """The key that signs this home's tokens, made when first needed. Raises OSError."""
    path = folder / "secret"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = folder / f".secret-{os.getpid()}-{secrets.token_hex(4)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
    try:
        os.link(temporary, path)  # the first one wins, and is whole
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return path.read_bytes()


def _sign(secret: bytes, payload: str) -> str:
    return hmac.new(secret, payload.encode(), hashlib.sha256).hexdigest()[:32]


def seal(secret: bytes, caller: Caller) -> str:
    """A token that says who calls; nothing has to be stored to check it."""
    text = json.dumps(asdict(caller), separators=(",", ":"), ensure_ascii=True)
    payload = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    return f"{payload}.{_sign(secret, 'task:' + payload)}"


def unseal(secret: bytes, token: str) -> Caller | None:
    """The caller a token was made for, or None if it was not made here."""
    payload, dot, signature = token.partition(".")
    if not dot or not hmac.compare_digest(_sign(secret, "task:" + payload).encode(), signature.encode()):
        return None
    data = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return Caller(**data)


def admin_token(secret: bytes) -> str:
    """What the engine and the CLI of this home show to the gateway."""
    return "admin." + _sign(secret, "admin:")
