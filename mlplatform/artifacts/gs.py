"""Google Cloud Storage through google-cloud-storage, which comes with the extra ``kfp``.

Credentials are the library's own business (application default credentials); without any, public buckets can be read.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from mlplatform.artifacts.objects import DIGEST_KEY, ObjectInfo, ObjectStore
from mlplatform.core.errors import ArtifactError, Unsupported

#: By HTTP status: what happened, what to do.
_MEANING = {
    401: ("there are no valid credentials", "Log in with `gcloud auth application-default login`."),
    403: ("access denied", "Check the credentials' rights on this bucket."),
    404: ("there is no such bucket or object", "Check bucket and key."),
}


def open_gs() -> GsStore:
    """A store with the machine's credentials.

    Raises:
        Unsupported: google-cloud-storage is not installed.
        ArtifactError: the configuration is wrong.
    """
    try:
        storage: Any = import_module("google.cloud.storage")
        auth: Any = import_module("google.auth.exceptions")
    except ImportError as error:
        raise Unsupported(
            f"artifacts at gs:// need google-cloud-storage, which cannot be imported ({error})",
            hint="Install it with: pip install google-cloud-storage (it also comes with mlplatform[kfp])",
        ) from error
    try:
        return GsStore(storage.Client())
    except auth.DefaultCredentialsError:
        return GsStore(storage.Client.create_anonymous_client())
    except (OSError, ValueError, auth.GoogleAuthError) as error:
        hint = "Check GOOGLE_APPLICATION_CREDENTIALS and GOOGLE_CLOUD_PROJECT."
        raise ArtifactError(f"Google Cloud Storage cannot be used: {error}", hint=hint) from error


class GsStore(ObjectStore):
    """Artifacts on Google Cloud Storage."""

    def __init__(self, client: Any) -> None:
        """``client``: google.cloud.storage's, which several threads may use."""
        self._client = client

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        with _told(bucket, key, "look at"):
            blob = self._client.bucket(bucket).get_blob(key)
            if blob is None:
                return None
            metadata: dict[str, str] = blob.metadata or {}
            return ObjectInfo(key, blob.size, metadata.get(DIGEST_KEY, ""))

    def listing(self, bucket: str, prefix: str, limit: int | None = None) -> Iterator[ObjectInfo]:
        with _told(bucket, prefix, "list"):
            for blob in self._client.list_blobs(bucket, prefix=prefix, max_results=limit):
                yield ObjectInfo(blob.name, blob.size)

    def download(self, bucket: str, key: str, to: Path) -> None:
        with _told(bucket, key, "read"):
            self._client.bucket(bucket).blob(key).download_to_filename(str(to))

    def upload(self, source: Path, bucket: str, key: str, metadata: Mapping[str, str]) -> None:
        with _told(bucket, key, "write"):
            blob = self._client.bucket(bucket).blob(key)
            blob.metadata = dict(metadata)
            blob.upload_from_filename(str(source), content_type="application/octet-stream")

    def upload_empty(self, bucket: str, key: str, metadata: Mapping[str, str]) -> None:
        with _told(bucket, key, "write"):
            blob = self._client.bucket(bucket).blob(key)
            blob.metadata = dict(metadata)
            blob.upload_from_string(b"", content_type="application/octet-stream")

    def stream(self, bucket: str, key: str) -> Iterator[bytes]:
        with _told(bucket, key, "read"), self._client.bucket(bucket).blob(key).open("rb") as file:
            while piece := file.read(1 << 20):
                yield piece

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        for key in keys:
            with _told(bucket, key, "remove"):
                self._client.bucket(bucket).delete_blobs([key], on_error=_nothing_there)


def _nothing_there(blob: object) -> None:
    """Somebody else removed it first."""


@contextmanager
def _told(bucket: str, key: str, doing: str) -> Generator[None]:
    """Errors of the library as ours."""
    api: Any = import_module("google.api_core.exceptions")
    auth: Any = import_module("google.auth.exceptions")
    requests: Any = import_module("requests.exceptions")
    transfers: Any = import_module("google.cloud.storage.exceptions")
    where = f"cannot {doing} gs://{bucket}/{key}"
    try:
        yield
    except api.GoogleAPICallError as error:
        what, hint = _MEANING.get(error.code or 0, (error.message or str(error), ""))
        raise ArtifactError(f"{where}: {what}", hint=hint) from error
    except auth.GoogleAuthError as error:
        what, hint = _MEANING[401]
        raise ArtifactError(f"{where}: {what}", hint=hint) from error
    except (transfers.DataCorruption, transfers.InvalidResponse) as error:
        raise ArtifactError(f"{where}: it arrived damaged ({error})", hint="Try again.") from error
    except (api.GoogleAPIError, requests.RequestException) as error:
        raise ArtifactError(f"{where}: {error}", hint="Check the network.") from error
