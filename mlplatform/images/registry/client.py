"""Images to and from a registry, blob by blob, and only what is not there yet."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, Final
from urllib.parse import urlencode

from mlplatform.core.errors import EnvironmentFailed
from mlplatform.images.layout import Layout, choose
from mlplatform.images.model import (
    INDEXES,
    MANIFESTS,
    Descriptor,
    Manifest,
    Platform,
    digest_of,
    is_digest,
    read_object,
)
from mlplatform.images.references import Reference
from mlplatform.images.registry.transport import Answer, Transport, Unauthorized, missing

_PIECE: Final = 1 << 20
#: What one request uploads: proxies refuse much more, and a broken one is repeated.
_CHUNK: Final = 16 << 20
_ATTEMPTS: Final = 5
_AT_ONCE: Final = 3
_MISSING: Final = frozenset({404})


@dataclass(frozen=True, slots=True)
class Told:
    """What happened to one blob. ``what``: there, mounted, uploaded or fetched."""

    what: str
    blob: Descriptor


Report = Callable[[Told], None]


def _silent(_: Told) -> None:
    """Nobody wants to know."""


class Registry:
    """One registry. Usable from several threads."""

    def __init__(self, transport: Transport, *, chunk: int = _CHUNK) -> None:
        self.host = transport.host
        self._transport = transport
        self._chunk = chunk

    def ping(self) -> None:
        """Whether it is there and lets us in. Raises EnvironmentFailed."""
        self._transport.request("GET", "/v2/", scope="").close()

    # ------------------------------------------------------------------ manifests
    def manifest(self, reference: Reference) -> tuple[bytes, Descriptor]:
        """The manifest or index of a name, and what points at it.

        Raises:
            NotFound: there is none.
            EnvironmentFailed: refused, not reachable, or not what its digest says.
        """
        path = f"/v2/{reference.repository}/manifests/{reference.name}"
        headers = {"Accept": ", ".join((*MANIFESTS, *INDEXES))}
        answer = self._transport.request("GET", path, scope=_pulls(reference), headers=headers, fine=_MISSING)
        data = answer.read()
        if answer.status == 404:
            raise missing(str(reference))
        digest = digest_of(data)
        if reference.digest and reference.digest != digest:
            raise EnvironmentFailed(f"{self.host} gave another image than {reference}: its digest is {digest}.")
        media_type = (answer.headers.get("Content-Type") or "").partition(";")[0].strip()
        if media_type not in (*MANIFESTS, *INDEXES):
            media_type = str(read_object(data).get("mediaType") or MANIFESTS[0])
        return data, Descriptor(media_type, digest, len(data))

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> None:
        """Raises EnvironmentFailed."""
        headers = {"Content-Type": media_type, "Content-Length": str(len(data))}
        path = f"/v2/{reference.repository}/manifests/{reference.name or digest_of(data)}"
        answer = self._transport.request("PUT", path, scope=_pushes(reference), headers=headers, body=lambda: data)
        answer.close()
        told = answer.headers.get("Docker-Content-Digest", "")
        if is_digest(told) and told != digest_of(data):
            raise EnvironmentFailed(f"{self.host} kept {reference} as {told} instead of {digest_of(data)}.")

    # ------------------------------------------------------------------ blobs
    def has(self, reference: Reference, digest: str, *, pushing: bool = False) -> bool:
        """Whether the repository holds a blob."""
        scope = _pushes(reference) if pushing else _pulls(reference)
        path = f"/v2/{reference.repository}/blobs/{digest}"
        answer = self._transport.request("HEAD", path, scope=scope, fine=_MISSING)
        answer.close()
        return answer.status != 404

    def fetch(self, reference: Reference, blob: Descriptor, layout: Layout) -> None:
        """Copy a blob into ``layout``, checked; a transfer that breaks off goes on where it stopped.

        Raises:
            NotFound, EnvironmentFailed.
        """
        with layout.writing() as (file, keep):
            sha, done, failures = hashlib.sha256(), 0, 0
            while done < blob.size:
                before = done
                try:
                    for piece in self._pieces(reference, blob, done):
                        file.write(piece)
                        sha.update(piece)
                        done += len(piece)
                except (OSError, EnvironmentFailed) as error:
                    if isinstance(error, Unauthorized) or not _network(error):
                        raise
                    failures = 1 if done > before else failures + 1
                    if failures >= _ATTEMPTS:
                        raise EnvironmentFailed(
                            f"{blob.digest} could not be fetched from {self.host}: {error}"
                        ) from None
                    continue
                if done == before:
                    break
            if done != blob.size or "sha256:" + sha.hexdigest() != blob.digest:
                raise EnvironmentFailed(f"{self.host} gave something else than {blob.digest} ({done} bytes).")
            keep(blob.digest)

    def _pieces(self, reference: Reference, blob: Descriptor, start: int) -> Any:
        headers = {"Range": f"bytes={start}-"} if start else {}
        path = f"/v2/{reference.repository}/blobs/{blob.digest}"
        answer = self._transport.request("GET", path, scope=_pulls(reference), headers=headers, fine=_MISSING)
        with answer.body as body:
            if answer.status == 404:
                raise missing(f"{reference.host}/{reference.repository} with {blob.digest}")
            skip = 0 if answer.status == 206 else start
            while piece := body.read(_PIECE):
                fresh = piece[skip:]
                skip = max(0, skip - len(piece))
                yield fresh

    def put(self, reference: Reference, blob: Descriptor, layout: Layout, mount: str = "") -> str:
        """Make the repository hold a blob of ``layout``: ``there``, ``mounted`` or ``uploaded``.

        Args:
            mount: another repository of this registry that may hold it.

        Raises:
            EnvironmentFailed: refused, not reachable, or the disk there is full.
        """
        if self.has(reference, blob.digest, pushing=True):
            return "there"
        failures = 0
        while True:
            location = self.begin(reference, blob, mount)
            if not location:
                return "mounted"
            if not layout.has(blob.digest):
                raise missing(f"layer {blob.digest} in {layout.folder}")
            with open(layout.path(blob.digest), "rb") as file:
                if self._upload(reference, blob, file, location):
                    return "uploaded"
            failures += 1  # the registry has forgotten this upload: it was restarted
            if failures >= _ATTEMPTS:
                raise EnvironmentFailed(f"{self.host} forgets the upload of {blob.digest} again and again.")

    def begin(self, reference: Reference, blob: Descriptor, mount: str) -> str:
        """Begin an upload: where to send it; "" if the blob could be mounted from the repository ``mount`` instead."""
        scope, query = _pushes(reference), ""
        if mount and mount != reference.repository:
            query = "?" + urlencode({"mount": blob.digest, "from": mount})
            scope = f"{scope} repository:{mount}:pull"
        path = f"/v2/{reference.repository}/blobs/uploads/"
        answer = self._transport.request("POST", path + query, scope=scope, headers={"Content-Length": "0"})
        answer.close()
        return "" if answer.status == 201 else answer.location()

    def _upload(self, reference: Reference, blob: Descriptor, file: IO[bytes], location: str) -> bool:
        """Upload chunk by chunk; False if the registry no longer knows of this upload."""
        done, failures = 0, 0
        while done < blob.size or not blob.size:
            last = blob.size - done <= self._chunk
            file.seek(done)
            data = file.read(self._chunk)
            try:
                answer = self._send(reference, location, data, done, blob.digest if last else "")
            except (OSError, EnvironmentFailed) as error:
                if isinstance(error, Unauthorized) or not _network(error):
                    raise
                failures += 1
                if failures >= _ATTEMPTS:
                    raise EnvironmentFailed(
                        f"{blob.digest} could not be uploaded: {error}", hint=_hint(error)
                    ) from None
                known = self._status(reference, location)
                if known is None:
                    return self.has(reference, blob.digest, pushing=True)
                done, location = known
                continue
            if answer.status == 404:
                return self.has(reference, blob.digest, pushing=True)
            if answer.status == 416:  # it holds more or less of it than we think
                known = self._status(reference, location)
                failures += 1
                if known is None or failures >= _ATTEMPTS:
                    return False
                done, location = known
                continue
            if last:
                return True
            done, failures, location = done + len(data), 0, answer.location()
        return False

    def _send(self, reference: Reference, location: str, data: bytes, start: int, digest: str) -> Answer:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(data))}
        if data and (start or not digest):
            headers["Content-Range"] = f"{start}-{start + len(data) - 1}"
        if digest:
            location += ("&" if "?" in location else "?") + urlencode({"digest": digest})
        answer = self._transport.request(
            "PUT" if digest else "PATCH",
            location,
            scope=_pushes(reference),
            headers=headers,
            body=lambda: io.BytesIO(data),
            fine=frozenset({404, 416}),
            again=False,
        )
        answer.close()
        return answer

    def _status(self, reference: Reference, location: str) -> tuple[int, str] | None:
        """How much of an upload has arrived, and where it goes on; None if it is not known any more."""
        answer = self._transport.request("GET", location, scope=_pushes(reference), fine=_MISSING)
        answer.close()
        if answer.status == 404:
            return None
        end = (answer.headers.get("Range") or "").rpartition("-")[2]
        # The range of nothing and of one byte are both told as 0-0; a chunk is never one byte.
        done = int(end) + 1 if end.isdigit() and int(end) else 0
        return done, answer.location() if answer.headers.get("Location") else location


# ------------------------------------------------------------------ whole images
def pull(
    registry: Registry,
    reference: Reference,
    layout: Layout,
    *,
    platform: Platform | None = None,
    layers: bool = True,
    report: Report = _silent,
) -> Descriptor:
    """Bring an image into ``layout``; returns its manifest for ``platform`` (linux/amd64 if not given).

    Args:
        layers: False: manifest and configuration only.

    Raises:
        NotFound: there is no such image, or not for this platform.
        EnvironmentFailed: the registry cannot be reached or refuses.
    """
    wanted = platform or Platform()
    data, found = registry.manifest(reference)
    if found.media_type in INDEXES:
        chosen = choose(data, wanted)
        data, found = registry.manifest(reference.at(chosen.digest))
    image = layout.put(data, found.media_type)
    manifest = Manifest.read(data)

    def fetch(blob: Descriptor) -> None:
        if layout.has(blob.digest):
            report(Told("there", blob))
            return
        registry.fetch(reference, blob, layout)
        report(Told("fetched", blob))

    _all(fetch, [manifest.config, *(manifest.layers if layers else ())])
    return Descriptor(found.media_type, image.digest, image.size, platform=wanted)


def push(
    registry: Registry,
    layout: Layout,
    image: Descriptor,
    reference: Reference,
    *,
    elsewhere: Mapping[str, tuple[Registry, Reference]] | None = None,
    report: Report = _silent,
) -> Reference:
    """Make ``reference`` mean ``image``; returns the same repository's name of its digest. The manifest comes last, so
    that an interrupted push leaves no image that is not whole; the next one goes on with what is missing.

    Args:
        elsewhere: for blobs that may not be in ``layout`` (a base image's): where they are.

    Raises:
        EnvironmentFailed: the registry cannot be reached or refuses.
    """
    manifest = layout.manifest(image)
    sources = elsewhere or {}

    def send(blob: Descriptor) -> None:
        source = sources.get(blob.digest)
        mount = source[1].repository if source and source[1].host == reference.host else ""
        if source and not layout.has(blob.digest) and not registry.has(reference, blob.digest, pushing=True):
            if mount and not registry.begin(reference, blob, mount):
                report(Told("mounted", blob))
                return
            source[0].fetch(source[1], blob, layout)
            report(Told("fetched", blob))
        report(Told(registry.put(reference, blob, layout, mount), blob))

    _all(send, list({each.digest: each for each in (*manifest.layers, manifest.config)}.values()))
    registry.put_manifest(reference, layout.read(image), image.media_type)
    return reference.at(image.digest)


def _all(work: Callable[[Descriptor], None], blobs: list[Descriptor]) -> None:
    """Several at once; the first failure ends it."""
    threads = ThreadPoolExecutor(_AT_ONCE)
    try:
        for running in [threads.submit(work, blob) for blob in blobs]:
            running.result()
    finally:
        threads.shutdown(cancel_futures=True)


def _pulls(reference: Reference) -> str:
    return f"repository:{reference.repository}:pull"


def _pushes(reference: Reference) -> str:
    return f"repository:{reference.repository}:pull,push"


def _network(error: Exception) -> bool:
    """Whether another try may help: the connection broke, and not the disk here."""
    return isinstance(error, (EnvironmentFailed, ConnectionError, TimeoutError))


def _hint(error: Exception) -> str:
    return error.hint if isinstance(error, EnvironmentFailed) else ""
