"""The script that ranks run: looked at before anything starts, sent to a cluster with the modules that it reaches."""

from __future__ import annotations

import ast
import base64
import importlib.util
import io
import re
import shutil
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlplatform.core.errors import InvalidInput

#: An argument of a process holds so much on Linux (128 KiB with its end).
_LONGEST: Final = 120_000
#: ``$0`` is the archive, ``$d`` the folder for what is in it.
_UNPACK: Final = (
    'printf "%s" "$0" | python -c "import base64, io, sys, zipfile; '
    'zipfile.ZipFile(io.BytesIO(base64.b64decode(sys.stdin.read()))).extractall(sys.argv[1])" "$d"'
)
#: ``$0`` is the script.
_WRITE: Final = 'printf "%s" "$0" > "$d/{name}"'
_IMAGES: Final = 'Put it into the image, and name its command: TrainingJob(["python", "/app/train.py"]).'


@dataclass(frozen=True)
class Load:
    """What travels: ``text`` is ``$0`` of a shell that runs ``put`` and then has ``$d/<name>``."""

    name: str
    text: str
    put: str


def read_script(what: str | Path) -> Path:
    """The whole path of a script. Raises InvalidInput: it is not there, or no Python."""
    path = Path(what)
    if not path.is_file():
        raise InvalidInput(f"There is no file {str(path)!r}.", hint="Check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        words = error.msg if isinstance(error, SyntaxError) else str(error)
        shown = f"\n    {error.text.strip()}" if isinstance(error, SyntaxError) and error.text else ""
        raise InvalidInput(f"{path}{line}: {words}{shown}", hint="Nothing was started.") from None
    return path.resolve()


def load_of(path: Path) -> Load:
    """How a script goes to where only the object goes. Raises InvalidInput: it is too long for that."""
    return _load(path.name, path.read_bytes(), _reached(path))


def load_of_text(name: str, text: str) -> Load:
    """The same for a script that is no file. Raises InvalidInput."""
    return _load(name, text.encode(), {})


def _load(name: str, script: bytes, modules: Mapping[str, bytes]) -> Load:
    name = name if re.fullmatch(r"[\w.-]+", name, re.ASCII) else "script.py"  # it stands in a line of a shell
    if not modules and len(script) <= _LONGEST:
        try:
            return Load(name, script.decode(), _WRITE.format(name=name))
        except UnicodeDecodeError:
            pass  # in its own encoding, then
    return Load(name, _packed(name, {**modules, name: script}), _UNPACK)


def _reached(path: Path) -> dict[str, bytes]:
    """By file name the modules that it imports, as far as they are nobody's package."""
    from mlplatform.capture.modules import Modules, imports_of, read_source

    modules = Modules(path.parent, first=True)
    for told in imports_of(read_source(str(path)) or ""):
        modules.reach_import(told)
    found: dict[str, bytes] = {}
    for place in modules.project.values():
        file = Path(place.path)
        if file.is_file():
            stem = place.name.replace(".", "/")
            found[f"{stem}/__init__.py" if place.is_package else f"{stem}.py"] = file.read_bytes()
    return found


def _packed(name: str, files: Mapping[str, bytes]) -> str:
    """An archive in letters, the same for the same files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for each in sorted(files):
            archive.writestr(zipfile.ZipInfo(each), files[each], zipfile.ZIP_DEFLATED, 9)
    packed = base64.b64encode(out.getvalue()).decode()
    if len(packed) > _LONGEST:
        more = f" and the {len(files) - 1} modules that it reaches are" if len(files) > 1 else " is"
        raise InvalidInput(
            f"{name}{more} too long to travel with the job ({len(packed) // 1024} KiB packed, "
            f"at most {_LONGEST // 1024})",
            hint=_IMAGES,
        )
    return packed


def check_framework(framework: str) -> None:
    """Raises InvalidInput: this machine cannot start ranks of it."""
    if framework in ("torch", "jax", "ray") and importlib.util.find_spec(framework) is None:
        what, get = f"The package {framework}", f"pip install {framework}"
    elif framework == "mpi" and shutil.which("mpirun") is None:
        what, get = "The program mpirun", "a package of your system, such as openmpi-bin"
    else:
        return
    raise InvalidInput(f"{what} is not installed here.", hint=f"Install it first: {get}.")
