"""Blobs and images in an OCI layout: a folder that many processes may fill at once, and the same as one tar archive.

A blob is written aside and renamed, so what lies under a digest is whole. ``index.json`` names the images.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from mlplatform.core.errors import EnvironmentFailed, InvalidInput, NotFound
from mlplatform.images.model import (
    INDEX,
    INDEXES,
    MANIFESTS,
    Descriptor,
    Manifest,
    Platform,
    digest_of,
    dump,
    is_digest,
    read_object,
)

#: The annotation that says what an image in a layout is called: a tag, or (containerd) the whole name.
NAME: Final = "org.opencontainers.image.ref.name"
CONTAINERD_NAME: Final = "io.containerd.image.name"
_VERSION: Final = b'{"imageLayoutVersion":"1.0.0"}'
_PIECE: Final = 1 << 20


class Layout:
    """The OCI layout in ``folder``; an empty or missing folder is a layout without images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blobs = folder / "blobs" / "sha256"

    # ------------------------------------------------------------------ blobs
    def path(self, digest: str) -> Path:
        """Where a blob lies. Raises InvalidInput for what is no digest."""
        if not is_digest(digest):
            raise InvalidInput(f"{digest!r} is no sha256 digest")
        return self._blobs / digest.removeprefix("sha256:")

    def has(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def read(self, descriptor: Descriptor) -> bytes:
        """A document, checked against its digest. Raises NotFound, EnvironmentFailed."""
        try:
            data = self.path(descriptor.digest).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"{self.folder} does not hold {descriptor.digest}.") from None
        if digest_of(data) != descriptor.digest:
            raise EnvironmentFailed(f"{self.path(descriptor.digest)} is damaged: its digest is {digest_of(data)}.")
        return data

    def put(self, data: bytes, media_type: str) -> Descriptor:
        """Keep a document. Raises EnvironmentFailed."""
        digest = digest_of(data)
        if not self.has(digest):
            with self.writing() as (file, keep):
                file.write(data)
                keep(digest)
        return Descriptor(media_type, digest, len(data))

    @contextmanager
    def writing(self) -> Generator[tuple[IO[bytes], Any]]:
        """A file to write and what makes it the blob of a digest; without that call nothing is left.

        Raises:
            EnvironmentFailed: the disk is full, or the folder cannot be written.
        """
        try:
            self._blobs.mkdir(parents=True, exist_ok=True)
            version = self.folder / "oci-layout"
            if not version.exists():
                write_whole(version, _VERSION)
            with tempfile.NamedTemporaryFile(dir=self._blobs, prefix=".new-", delete=False) as file:
                temporary = Path(file.name)
                try:

                    def keep(digest: str) -> None:
                        file.flush()
                        os.fsync(file.fileno())
                        os.fchmod(file.fileno(), 0o644)
                        temporary.replace(self.path(digest))

                    yield file, keep
                finally:
                    temporary.unlink(missing_ok=True)
        except OSError as error:
            raise disk_failure(self.folder, error) from error

    # ------------------------------------------------------------------ images
    def images(self) -> list[Descriptor]:
        """What ``index.json`` names. Raises InvalidInput."""
        try:
            found = read_object((self.folder / "index.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [Descriptor.read(each) for each in found.get("manifests") or ()]

    def name(self, image: Descriptor, name: str) -> None:
        """Make ``name`` mean this image."""
        import fcntl

        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            others = [each for each in self.images() if each.annotations.get(NAME) != name]
            named = Descriptor(image.media_type, image.digest, image.size, {NAME: name}, image.platform)
            write_whole(self.folder / "index.json", _index([*others, named]))

    def find(self, name: str = "", platform: Platform | None = None) -> Descriptor:
        """The manifest of an image by its name, tag or digest; the only one if no name is given.

        Raises:
            NotFound: with what there is.
        """
        images = self.images()
        found = [each for each in images if not name or name in (each.digest, *_names(each))]
        if len({each.digest for each in found}) != 1:
            known = ", ".join(sorted({text for each in images for text in _names(each)} or {"no image"}))
            what = f"no image {name!r}" if name and not found else "several images"
            raise NotFound(f"The layout {self.folder} holds {what}.", hint=f"There is: {known}.")
        return self.for_platform(found[0], platform or Platform())

    def for_platform(self, image: Descriptor, platform: Platform) -> Descriptor:
        """A manifest itself, or the one of an index that is for ``platform``. Raises NotFound."""
        if image.media_type in MANIFESTS:
            return image
        if image.media_type not in INDEXES:
            raise InvalidInput(f"{image.digest} is no image but {image.media_type!r}.")
        return choose(self.read(image), platform)

    def manifest(self, image: Descriptor) -> Manifest:
        return Manifest.read(self.read(image))

    def reachable(self, image: Descriptor) -> list[Descriptor]:
        """The blobs of an image, the manifest last."""
        manifest = self.manifest(image)
        return [*_unique((manifest.config, *manifest.layers)), image]

    def copy(self, image: Descriptor, to: Layout, name: str = "") -> None:
        """Copy an image into another layout, checked, and call it ``name``. Raises NotFound, EnvironmentFailed."""
        for blob in self.reachable(image):
            try:
                with self.path(blob.digest).open("rb") as data:
                    to.take(data, blob.digest)
            except FileNotFoundError:
                raise NotFound(f"{self.folder} does not hold {blob.digest}.") from None
        if name:
            to.name(image, name)

    # ------------------------------------------------------------------ archives
    def export(self, image: Descriptor, archive: Path, name: str = "") -> None:
        """Write one image as an OCI archive; ``name`` is what ``ctr images import`` calls it. The same image and name
        give the same bytes.

        Raises:
            EnvironmentFailed: the disk is full, or there cannot be written.
        """
        annotations = {NAME: name.rpartition(":")[2], CONTAINERD_NAME: name} if name else {}
        named = Descriptor(image.media_type, image.digest, image.size, annotations, image.platform)
        try:
            archive.parent.mkdir(parents=True, exist_ok=True)
            with (
                tempfile.NamedTemporaryFile(dir=archive.parent, prefix=".new-", delete=False) as file,
                _removed(Path(file.name)) as temporary,
            ):
                with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                    _add(tar, "oci-layout", len(_VERSION), io.BytesIO(_VERSION))
                    index = _index([named])
                    _add(tar, "index.json", len(index), io.BytesIO(index))
                    for blob in sorted(self.reachable(image), key=lambda each: each.digest):
                        with open(self.path(blob.digest), "rb") as data:
                            place = "blobs/sha256/" + blob.digest.removeprefix("sha256:")
                            _add(tar, place, os.fstat(data.fileno()).st_size, data)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)
                temporary.replace(archive)
        except OSError as error:
            raise disk_failure(archive, error) from error

    def load(self, archive: Path) -> list[Descriptor]:
        """Take in an OCI archive: its blobs, checked, and the names of its images.

        Raises:
            NotFound, InvalidInput: it is not there, or is none.
        """
        index = b""
        try:
            with tarfile.open(archive, "r:*") as tar:
                for member in tar:
                    name = os.path.normpath(member.name)
                    data = tar.extractfile(member) if member.isfile() else None
                    if data is None:
                        continue
                    if name == "index.json":
                        index = data.read()
                    elif os.path.dirname(name) == "blobs/sha256":
                        self.take(data, "sha256:" + os.path.basename(name))
        except FileNotFoundError:
            raise NotFound(f"There is no archive {archive}.") from None
        except tarfile.TarError:
            raise InvalidInput(f"{archive} is no tar archive.") from None
        if not index:
            raise InvalidInput(f"{archive} is no OCI archive: it has no index.json.")
        images = [Descriptor.read(each) for each in read_object(index).get("manifests") or ()]
        for image in images:
            for text in _names(image):
                self.name(image, text)
        return images

    def take(self, data: IO[bytes], digest: str) -> None:
        """Keep a blob that somebody else wrote. Raises InvalidInput if it is not what its digest says."""
        if self.has(digest):
            return
        with self.writing() as (file, keep):
            sha = hashlib.sha256()
            while piece := data.read(_PIECE):
                sha.update(piece)
                file.write(piece)
            if "sha256:" + sha.hexdigest() != digest:
                raise InvalidInput(f"the archive is damaged: {digest} holds something else")
            keep(digest)


def choose(index: bytes, platform: Platform) -> Descriptor:
    """The manifest for ``platform`` of an index. Raises NotFound with the platforms there are."""
    images = [Descriptor.read(each) for each in read_object(index).get("manifests") or ()]
    images = [each for each in images if each.media_type in MANIFESTS]
    found = [each for each in images if each.platform in (platform, None)]
    if not found:
        there = ", ".join(sorted({str(each.platform) for each in images})) or "none"
        raise NotFound(f"The image is not there for {platform}.", hint=f"It is there for: {there}.")
    return found[0]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file, _removed(Path(file.name)):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o644)
        Path(file.name).replace(path)


def disk_failure(where: Path, error: OSError) -> EnvironmentFailed:
    reason = error.strerror or str(error)
    hint = "Free some space, or name another folder (MLPLATFORM_CACHE, TMPDIR, --to)."
    return EnvironmentFailed(f"{error.filename or where} cannot be written or read: {reason}.", hint=hint)


@contextmanager
def _removed(path: Path) -> Generator[Path]:
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _names(image: Descriptor) -> list[str]:
    return [image.annotations[key] for key in (CONTAINERD_NAME, NAME) if image.annotations.get(key)]


def _unique(blobs: Iterable[Descriptor]) -> list[Descriptor]:
    return list({each.digest: each for each in blobs}.values())


def _index(images: Iterable[Descriptor]) -> bytes:
    return dump({"schemaVersion": 2, "mediaType": INDEX, "manifests": [each.to_json() for each in images]})


def _add(tar: tarfile.TarFile, name: str, size: int, data: IO[bytes]) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    tar.addfile(info, data)
