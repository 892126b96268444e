"""A self-contained Python: interpreter, standard library, loader, shared libraries and packages in one folder that runs
wherever it is copied to, in an image of any C library or of none.

::

    bin/launcher            the first program (entry.c), static; by its name it starts ...
    bin/mlplatform, python  ... the launcher in a pod, the command line, or the interpreter
    lib/loader.so, *.so*    the C library's loader and every shared library
    lib/python3.11/         the standard library (compiled), site-packages
    libexec/python          the interpreter's binary
    kfp/                    kfp's runtime, for the Python of the image around it
    etc/ca.pem              certificates, for images that have none
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from mlplatform.images import elf, entry
from mlplatform.images.interpreter import Interpreter, libraries_of
from mlplatform.images.packages import own_package, packages_tree
from mlplatform.images.pyc import compile_tree
from mlplatform.images.tree import Tree

#: What the interpreter runs first: certificates, where the image around it has none.
_CUSTOMIZE: Final = '''"""Certificates for an image that has none (user code does not see this variable)."""
import os
import sys

_KNOWN = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem",
)
if "SSL_CERT_FILE" not in os.environ and "SSL_CERT_DIR" not in os.environ:
    for _file in (*_KNOWN, os.path.join(sys.prefix, "etc", "ca.pem")):
        if os.path.exists(_file):
            os.environ["SSL_CERT_FILE"] = _file
            os.environ["MLPLATFORM_ADDED"] = "SSL_CERT_FILE"
            break
'''


def write_bundle(
    python: Interpreter,
    packages: Path,
    cache: Path,
    *,
    under: str,
    kfp: Path | None = None,
    pages: bool = False,
    rooms: Collection[str] = (),
) -> dict[str, Tree]:
    """The bundle below ``under``, as trees to make layers of: the interpreter, the same in every bundle of it, then the
    packages, then this package itself, which changes most often.

    Args:
        packages: a folder of packages for this interpreter (``packages.unpacked``).
        cache: for compiled files.
        kfp: a folder that holds ``kfp/``.
        pages: with the built web pages.
        rooms: of this package's folders these alone, and packages without their source: for a bundle that is copied
            into every pod, each file counts. Empty: all of it.

    Raises:
        EnvironmentFailed: a shared library is missing, or a file cannot be read.
        Unsupported: the interpreter cannot be packed.
    """
    home = f"lib/python{python.short}"
    own = own_package(f"{home}/site-packages", pages=pages, rooms=rooms)
    if kfp is not None:
        own.add(kfp / "kfp", "kfp/kfp", lambda path: not path.endswith((".pyc", "_test.py")))
    compile_tree(own, python, cache, under=f"{home}/", root=under)
    return {
        "interpreter": _interpreter(python, home, cache, under).below(under),
        "packages": _packages(python, packages, home, cache, under, sourceless=bool(rooms)).below(under),
        "the platform": own.below(under),
    }


def _interpreter(python: Interpreter, home: str, cache: Path, root: str) -> Tree:
    """What runs Python by itself."""
    tree = Tree()
    tree.add(python.standard_library, home, lambda path: python.wants(path) and not path.endswith(".so"))
    tree.file(f"{home}/site-packages/sitecustomize.py", _CUSTOMIZE.encode())
    compile_tree(tree, python, cache, under=f"{home}/", root=root, sourceless=True)
    extensions = python.extension_files()
    for file in extensions:
        tree.file(f"{home}/lib-dynload/{file.name}", _relocated(file), executable=True)
    for name, place in libraries_of(python, extensions).items():
        tree.file(f"lib/{name}", _relocated(place.resolve()), executable=True)
    tree.file("lib/loader.so", python.loader().resolve(), executable=True)
    tree.file("libexec/python", _relocated(Path(python.executable)), executable=True)
    tree.file("bin/launcher", entry.program(python.architecture()), executable=True)
    for name in ("mlplatform", "python", f"python{python.short}", "python3"):
        tree.symlink(f"bin/{name}", "launcher")
    certificates = _certificates()
    if certificates is not None:
        tree.file("etc/ca.pem", certificates.resolve(), executable=False)
    return tree


def _packages(python: Interpreter, packages: Path, home: str, cache: Path, root: str, *, sourceless: bool) -> Tree:
    """Packages, and the shared libraries that they alone need."""
    tree = packages_tree(packages, f"{home}/site-packages", slim=True)
    compile_tree(tree, python, cache, under=f"{home}/", root=root, sourceless=sourceless)
    known = libraries_of(python, python.extension_files())
    binaries = [*sorted(packages.rglob("*.so")), *sorted(packages.rglob("*.so.*"))]
    for name, place in libraries_of(python, binaries, packages).items():
        if name not in known:
            tree.file(f"lib/{name}", _relocated(place.resolve()), executable=True)
    return tree


def _relocated(file: Path) -> bytes | Path:
    known = elf.read(file)
    return elf.portable(known) if known is not None and known.is_dynamic else file


def _certificates() -> Path | None:
    usual = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
    found: Sequence[str | None] = (ssl.get_default_verify_paths().cafile, *usual)
    return next((Path(file) for file in found if file and Path(file).is_file()), None)
