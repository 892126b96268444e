"""Reading the bytes of a pipeline file: plain text, or a package that holds one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from mlplatform.core.errors import Finding, NotFound
from mlplatform.ir.documents import refuse
from mlplatform.ir.limits import MAX_BYTES

#: Largest package that is read, in bytes as it is packed.
MAX_PACKAGE_BYTES: Final = 64 * 1024 * 1024
_PACKAGE_NAMES: Final = (".zip", ".tgz", ".tar.gz", ".gz")
_PACKAGE_STARTS: Final = (b"\x1f\x8b", b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a pipeline, and where it came from: a file name, for packages with the member's."""

    data: bytes
    origin: str


def read_file(path: str | os.PathLike[str]) -> Document:
    """Read the pipeline text in file ``path``.

    Raises:
        InvalidPipeline: too large, or a package without exactly one pipeline in it.
        NotFound: there is no such file, or it cannot be read.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as stream:
            head = stream.read(4)
            limit = MAX_PACKAGE_BYTES if head.startswith(_PACKAGE_STARTS) else MAX_BYTES
            data = head + stream.read(limit + 1 - len(head))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise NotFound(f"The pipeline file {name!r} cannot be read: {reason}.", hint="Check the path.") from None
    if len(data) > limit:
        message = f"the file is larger than {limit // 2**20} MiB"
        refuse(name, [Finding("", message, "too-large", "pass large values as artifacts, not as constants")])
    return read_bytes(data, name)


def read_bytes(data: bytes, origin: str = "") -> Document:
    """Find the pipeline text in the bytes of a file; packages are told by their content, not by their name.

    A package (zip, or tar packed with gzip) holds ``pipeline.yaml`` (or ``.yml``, ``.json``) in any folder, or a
    single file of such a kind.

    Raises:
        InvalidPipeline: a package that cannot be read or holds no pipeline, or more than one.
    """
    if not data.startswith(_PACKAGE_STARTS):
        if data and origin.lower().endswith(_PACKAGE_NAMES):
            refuse(origin, [Finding("", "the file is named like a package but is none", "bad-package")])
        return Document(data, origin)
    if len(data) > MAX_PACKAGE_BYTES:
        message = f"the package is larger than {MAX_PACKAGE_BYTES // 2**20} MiB"
        refuse(origin, [Finding("", message, "too-large")])
    from mlplatform.ir import archive  # zipfile and tarfile are slow to import, and seldom needed

    try:
        name, text = archive.find_pipeline(data)
    except archive.Refused as error:
        hint = "make it of one pipeline.yaml, as the KFP compiler writes it"
        refuse(origin, [Finding("", str(error), "bad-package", hint)])
    return Document(text, f"{origin}:{name}" if origin else name)
