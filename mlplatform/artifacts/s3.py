"""S3 and servers that speak it (MinIO, Ceph, versitygw ...), through boto3 (extra ``s3``).

Credentials, region and profile are boto3's own business: environment, ~/.aws, instance roles. ``AWS_ENDPOINT_URL_S3``,
``AWS_ENDPOINT_URL`` or ``MLPLATFORM_S3_ENDPOINT`` (which wins) name another server than Amazon's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from mlplatform.artifacts.objects import DIGEST_KEY, ObjectInfo, ObjectStore
from mlplatform.core.errors import ArtifactError, Unsupported

#: Objects larger than this go in parts, several at once. Bytes.
_PART: Final = 16 * 2**20
#: Keys one DeleteObjects request takes.
_DELETE_MAX: Final = 1000

#: By S3's error code: what happened, what to do.
_MEANING: Final = {
    "NoSuchBucket": ("there is no such bucket", "Check its name and region, or create it."),
    "AccessDenied": ("access denied", "Check the credentials' rights on this bucket."),
    "403": ("access denied", "Check the credentials' rights on this bucket."),
    "InvalidAccessKeyId": ("the access key is not known", "Check AWS_ACCESS_KEY_ID, or the profile in use."),
    "SignatureDoesNotMatch": ("the secret key is wrong", "Check AWS_SECRET_ACCESS_KEY, or the profile in use."),
    "ExpiredToken": ("the credentials have expired", "Log in again."),
    "NoSuchKey": ("there is no such object", ""),
    "404": ("there is no such object", ""),
    "XMinioStorageFull": ("the store is full", "Free some space there."),
    "QuotaExceeded": ("the store is full", "Free some space there."),
}


def open_s3(environment: Mapping[str, str], place: Mapping[str, str] | None = None) -> S3Store:
    """A store by what the environment says; ``place``: what is different for this one (endpoint, region, keys).

    Raises:
        Unsupported: boto3 is not installed.
        ArtifactError: the configuration is wrong.
    """
    try:
        boto3, config, transfer = map(import_module, ("boto3", "botocore.config", "boto3.s3.transfer"))
    except ImportError as error:
        raise Unsupported(
            f"artifacts at s3:// need boto3, which cannot be imported ({error})",
            hint="Install it with: pip install 'mlplatform[s3]'",
        ) from error
    library: Any = boto3
    own = dict(place or {})
    endpoint = own.get("MLPLATFORM_S3_ENDPOINT") or environment.get("MLPLATFORM_S3_ENDPOINT") or None
    elsewhere = bool(endpoint or environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL"))
    options: dict[str, Any] = {"retries": {"mode": "standard", "max_attempts": 5}, "connect_timeout": 10}
    if elsewhere:
        # Other servers are rarely reached under bucket.host, and not all know Amazon's newer checksums
        options["s3"] = {"addressing_style": "path"}
        options["request_checksum_calculation"] = "when_required"
        options["response_checksum_validation"] = "when_required"
    try:
        session = library.session.Session(
            aws_access_key_id=own.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=own.get("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=own.get("AWS_SESSION_TOKEN"),
            region_name=own.get("AWS_DEFAULT_REGION") or own.get("AWS_REGION"),
        )
        client = session.client(
            "s3",
            endpoint_url=endpoint,
            region_name=session.region_name or "us-east-1",
            config=config.Config(**options),
        )
    except (_errors().BotoCoreError, ValueError) as error:
        raise ArtifactError(f"S3 cannot be used: {error}", hint="Check the AWS settings and the endpoint.") from error
    transfers = transfer.TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=4)
    return S3Store(client, transfers)


class S3Store(ObjectStore):
    """Artifacts on one S3 server."""

    def __init__(self, client: Any, transfers: Any) -> None:
        """``client``: boto3's, which several threads may use; ``transfers``: its TransferConfig."""
        self._client = client
        self._transfers = transfers

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        with _told(bucket, key, "look at", missing=True) as outcome:
            answer = self._client.head_object(Bucket=bucket, Key=key)
            outcome.append(ObjectInfo(key, answer["ContentLength"], answer["Metadata"].get(DIGEST_KEY, "")))
        return outcome[0] if outcome else None

    def listing(self, bucket: str, prefix: str, limit: int | None = None) -> Iterator[ObjectInfo]:
        pages = self._client.get_paginator("list_objects_v2")
        size = {"PageSize": limit, "MaxItems": limit} if limit else {}
        with _told(bucket, prefix, "list"):
            for page in pages.paginate(Bucket=bucket, Prefix=prefix, PaginationConfig=size):
                for item in page.get("Contents", ()):
                    yield ObjectInfo(item["Key"], item["Size"])

    def download(self, bucket: str, key: str, to: Path) -> None:
        with _told(bucket, key, "read"):
            self._client.download_file(bucket, key, str(to), Config=self._transfers)

    def upload(self, source: Path, bucket: str, key: str, metadata: Mapping[str, str]) -> None:
        with _told(bucket, key, "write"):
            extra = {"Metadata": dict(metadata)}
            self._client.upload_file(str(source), bucket, key, ExtraArgs=extra, Config=self._transfers)

    def upload_empty(self, bucket: str, key: str, metadata: Mapping[str, str]) -> None:
        with _told(bucket, key, "write"):
            self._client.put_object(Bucket=bucket, Key=key, Body=b"", Metadata=dict(metadata))

    def stream(self, bucket: str, key: str) -> Iterator[bytes]:
        with _told(bucket, key, "read"):
            body = self._client.get_object(Bucket=bucket, Key=key)["Body"]
            yield from body.iter_chunks(1 << 20)

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        for begin in range(0, len(keys), _DELETE_MAX):
            part = [{"Key": key} for key in keys[begin : begin + _DELETE_MAX]]
            with _told(bucket, keys[begin], "remove"):
                answer = self._client.delete_objects(Bucket=bucket, Delete={"Objects": part, "Quiet": True})
            failed = answer.get("Errors", ())
            if failed:
                first = failed[0]
                raise ArtifactError(
                    f"cannot remove s3://{bucket}/{first.get('Key')}"
                    f"{f' and {len(failed) - 1} more' if len(failed) > 1 else ''}: {first.get('Message')}"
                )


def _errors() -> Any:
    """botocore's exceptions; boto3 has no types, so it is taken as it comes."""
    return import_module("botocore.exceptions")


@contextmanager
def _told(bucket: str, key: str, doing: str, *, missing: bool = False) -> Generator[list[ObjectInfo]]:
    """Errors of boto3 as ours. ``missing``: an object that is not there is no error."""
    errors = _errors()
    transfer_error: type[Exception] = import_module("boto3.exceptions").Boto3Error
    where = f"cannot {doing} s3://{bucket}/{key}"
    try:
        yield []
    except (errors.BotoCoreError, errors.ClientError, transfer_error) as error:
        # boto3's transfers hide the server's answer in the context of an error of their own
        answer: Any = error if isinstance(error, errors.ClientError) else error.__context__
        if isinstance(error, errors.NoCredentialsError) or isinstance(answer, errors.NoCredentialsError):
            hint = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with the aws command."
            raise ArtifactError(f"{where}: there are no credentials for S3", hint=hint) from error
        if isinstance(answer, errors.ClientError):
            code = str(answer.response.get("Error", {}).get("Code", ""))
            if missing and code in ("404", "NoSuchKey", "NotFound"):
                return
            what, hint = _MEANING.get(code, (str(answer), ""))
            raise ArtifactError(f"{where}: {what}", hint=hint) from error
        hint = "Check the network and, where it is not Amazon's, AWS_ENDPOINT_URL or MLPLATFORM_S3_ENDPOINT."
        raise ArtifactError(f"{where}: {error}", hint=hint) from error
