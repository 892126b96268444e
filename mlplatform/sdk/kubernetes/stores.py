"""The artifact store of a cluster's runs, seen from here: objects of the kernel go up by content, artifacts come down.

Its login is this machine's own where there is one (the usual AWS variables, profiles and files), else the namespace's
Secret that its runs use, for those who may read it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from mlplatform.artifacts import Artifacts
from mlplatform.artifacts.facade import reach
from mlplatform.core.errors import ArtifactError, KubernetesError, Unsupported
from mlplatform.core.values import child
from mlplatform.kube.client import Client
from mlplatform.kube.errors import Forbidden, ObjectNotFound
from mlplatform.kube.objects import SECRETS, Key

#: This machine's own login.
_OWN_LOGIN: Final = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")


def make_known(
    store: Mapping[str, Any], namespace: str, client: Callable[[], Client], environ: Mapping[str, str]
) -> None:
    """Have this process find what lies in a store: ``store`` as the spec of a run says it. Asks nobody yet."""
    uri = str(store.get("uri") or "").rstrip("/")
    if uri.startswith(("s3://", "minio://")):
        reach(uri + "/", lambda: settings_of(store, namespace, client, environ))


def settings_of(
    store: Mapping[str, Any], namespace: str, client: Callable[[], Client], environ: Mapping[str, str]
) -> dict[str, str]:
    """The variables by which a store is reached.

    Raises:
        ArtifactError: its login cannot be had here; it says what is missing.
    """
    found: dict[str, str] = {}
    if endpoint := store.get("endpoint"):
        found["MLPLATFORM_S3_ENDPOINT"] = str(endpoint)
    if region := store.get("region"):
        found["AWS_DEFAULT_REGION"] = str(region)
    secret = str(store.get("secretName") or "")
    if secret and not any(environ.get(name) for name in _OWN_LOGIN):
        found |= _login(Key(namespace, secret), client())
    return found


def _login(key: Key, client: Client) -> dict[str, str]:
    try:
        data = child(client.get(SECRETS, key), "data")
    except (Forbidden, ObjectNotFound) as error:
        why = "is not there" if isinstance(error, ObjectNotFound) else "may not be read by you"
        raise ArtifactError(
            f"The artifact store of these runs wants a login: this machine has none, and the Secret {key} {why}.",
            hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), or ask for the right to get that "
            "Secret.",
        ) from None
    except KubernetesError as error:
        raise ArtifactError(
            f"The login of the artifact store cannot be read: {error.message}", hint=error.hint
        ) from None
    try:
        return {str(name): base64.b64decode(str(value)).decode().strip() for name, value in data.items()}
    except (binascii.Error, UnicodeDecodeError):
        raise ArtifactError(f"The Secret {key} holds what is no text.") from None


def uploaded(
    artifacts: Mapping[str, Mapping[str, Any]], store: Mapping[str, Any], namespace: str
) -> dict[str, dict[str, Any]]:
    """Artifacts that a run is given, those of this machine brought to its store by content: what is there already is
    not sent again.

    Raises:
        Unsupported: the runs have no store that can be written from here; every such artifact is named.
        ArtifactError: it cannot be written.
    """
    here = {name: entry for name, entry in artifacts.items() if str(entry.get("uri") or "").startswith("/")}
    root = str(store.get("uri") or "").rstrip("/")
    if here and not root:
        what = "a claim that only pods can mount" if store.get("claimName") else "not set"
        raise Unsupported(
            f"Objects of this machine are given to a run of a cluster ({', '.join(sorted(here))}): they go by its "
            f"artifact store, which is {what}.",
            hint="Set MLPLATFORM_RUNS_STORE=s3://bucket/prefix (docs/kubernetes.md), or an address that pods read.",
        )
    found = {name: dict(entry) for name, entry in artifacts.items()}
    door = Artifacts()
    for name, entry in here.items():
        digest = str(entry["digest"]).removeprefix("sha256:")
        place = f"{root}/{namespace}/values/{digest}"
        try:
            if not door.exists(place):
                door.put(Path(str(entry["uri"])), place)
        except ArtifactError as error:
            hint = error.hint or "The login is this machine's: AWS_ACCESS_KEY_ID ..., or the Secret that the runs use."
            raise ArtifactError(f"{name!r} could not be brought to {root}: {error.message}", hint=hint) from None
        found[name]["uri"] = place
    return found
