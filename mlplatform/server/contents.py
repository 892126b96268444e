"""The bytes of artifacts: where they lie, and signed addresses for them.

An address is ``api/v1/content/WORD/WHERE/PATH``: a signature that expires, the artifact's URI and type, and a file
inside it where it is a folder. Relative links inside an HTML report stay within the same signed artifact.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from mlplatform.core.errors import InvalidInput, NotFound
from mlplatform.server.context import Context
from mlplatform.server.signing import sign, verify

#: Seconds an address can be used.
VALID: Final = 15 * 60.0
#: Bytes of a remote artifact that are fetched to be looked at; entries of a folder that are listed.
FETCHED: Final = 256 * 2**20
ENTRIES: Final = 1000

_fetching = threading.Lock()


def address(here: Context, uri: str, type_: str, path: str = "", *, save: bool = False) -> str:
    """A signed address, relative to the pages'."""
    where = base64.urlsafe_b64encode(json.dumps([uri, type_]).encode()).rstrip(b"=").decode()
    word = sign(here.settings.token, "content", where, here.now() + VALID)
    name = path or uri.rstrip("/").rpartition("/")[2] or "artifact"
    return f"api/v1/content/{word}/{where}/{quote(name)}" + ("?save=1" if save else "")


def read_address(here: Context, word: str, where: str) -> tuple[str, str]:
    """(URI, type). Raises NotFound for an address that is not ours or has expired."""
    if not verify(here.settings.token, "content", where, word, here.now()):
        raise NotFound("this address has expired", hint="Load the page again: it makes a new one.")
    uri, type_ = json.loads(base64.urlsafe_b64decode(where + "=" * (-len(where) % 4)))
    return str(uri), str(type_)


def place_of(here: Context, uri: str) -> Path:
    """A local file or folder with an artifact's bytes; remote ones are fetched once.

    Raises:
        NotFound: it is not there (any more).
        InvalidInput: a remote one is too large.
        ArtifactError: its store cannot be read.
    """
    artifacts = here.artifacts
    if artifacts.is_local(uri):
        path = artifacts.local_path(uri)
        if not path.exists():
            raise NotFound("the artifact is not there any more", hint="Its run was deleted, or somebody removed it.")
        return path
    size = next((link.size for link in here.store.artifact_links(uri=uri) if link.size is not None), None)
    if size is None or size > FETCHED:
        raise InvalidInput(
            "this artifact lies elsewhere, and is too large (or its size is not known) to be fetched for a look",
            hint=f"Copy it from {uri}.",
        )
    name = hashlib.sha256(uri.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    kept = here.settings.home.server / "fetched" / name
    with _fetching:
        if not kept.exists():
            temporary = kept.with_name(name + ".part")
            _forget(temporary)
            kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            artifacts.fetch(uri, temporary)
            temporary.rename(kept)
    return kept


def forget_fetched(here: Context) -> None:
    """Remove what was fetched to be looked at."""
    _forget(here.settings.home.server / "fetched")


def _forget(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def inside(place: Path, path: str) -> Path:
    """A file of an artifact; never one outside of it, whatever links are in it. Raises NotFound."""
    if place.is_file():
        return place
    base = place.resolve()
    try:
        found = (base / path).resolve() if "\0" not in path else base
    except (OSError, RuntimeError):
        found = base
    if not found.is_relative_to(base) or not found.is_file():
        raise NotFound(f"the artifact has no file {path!r}")
    return found


def entries(place: Path) -> tuple[list[tuple[str, int]], bool]:
    """(path, size) of the files of a folder in order, and whether there are more."""
    found = list(islice(_files(place), ENTRIES + 1))
    return sorted(found[:ENTRIES]), len(found) > ENTRIES


def _files(place: Path) -> Iterator[tuple[str, int]]:
    for path in place.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path.relative_to(place).as_posix(), path.stat().st_size


@contextmanager
def opened(path: Path) -> Generator[Any]:
    """Raises NotFound for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise NotFound(f"the artifact cannot be read: {error.strerror}") from None
