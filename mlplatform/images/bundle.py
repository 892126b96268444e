"""A self-contained Python: interpreter, standard library, loader, shared libraries and packages in one folder that runs
wherever it is copied to, in an image of any C library or of none.

::

    bin/launcher            the first program (entry.c), static; by its name it starts ...
    bin/mlplatform, python  ... the launcher in a pod, the command line, or the interpreter
    lib/loader.so, *.so*    the C library's loader and every shared library
    lib/python311.zip       the standard library (compiled)
    lib/packages.zip        in the launcher's: packages without extension modules
    lib/mlplatform.zip      in the launcher's: this package, for the bundle's own Python
    lib/aws/                in the launcher's: botocore's data and certificates
    lib/python3.11/         extension modules, site-packages
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
from mlplatform.images.zipped import drop_empty_folders, zip_compiled, zip_modules

#: What the interpreter runs first: certificates, where the image around it has none.
_CUSTOMIZE: Final = '''"""Certificates where an image has none, botocore's data: user code does not see them."""
import os
import sys

_added = []

_KNOWN = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem",
)
if "SSL_CERT_FILE" not in os.environ and "SSL_CERT_DIR" not in os.environ:
    for _file in (*_KNOWN, os.path.join(sys.prefix, "etc", "ca.pem")):
        if os.path.exists(_file):
            os.environ["SSL_CERT_FILE"] = _file
            _added.append("SSL_CERT_FILE")
            break
_data = os.path.join(sys.prefix, "lib", "aws", "data")
if "AWS_DATA_PATH" not in os.environ and os.path.isdir(_data):
    os.environ["AWS_DATA_PATH"] = _data
    _added.append("AWS_DATA_PATH")
if _added:
    os.environ["MLPLATFORM_ADDED"] = " ".join(_added)
'''

#: botocore asks certifi for certificates, and looks beside its own code where there is none: in a zip.
_CERTIFI: Final = """import os
import sys


def where():
    return os.path.join(sys.prefix, "lib", "aws", "cacert.pem")
"""
#: What of botocore must be found on a disk, by what its path begins with.
_AWS: Final = ("botocore/data/", "botocore/cacert.pem")


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
    if rooms:
        zip_compiled(own, f"{home}/site-packages", "lib/mlplatform.zip")
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
    # os.pyc stays, by which Python finds its home; so does what site looks for in a folder
    own = (f"{home}/os.pyc", f"{home}/site-packages/")
    archive = f"lib/python{python.short.replace('.', '')}.zip"
    zip_modules(tree, home, archive, lambda path: path.endswith(".pyc") and not f"{home}/{path}".startswith(own))
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


def _zip_packages(tree: Tree, place: str) -> None:
    """All but packages with extension modules, which are loaded from files."""
    paths = [path[len(place) + 1 :] for path, entry in tree.entries() if entry.source is not None]
    native = {path.split("/")[0] for path in paths if path.endswith(".so") or ".so." in path}
    for path in paths:
        if path.startswith(_AWS):
            tree.put(f"lib/aws/{path.removeprefix('botocore/')}", tree[f"{place}/{path}"])
            tree.remove(f"{place}/{path}")
    if "certifi/__init__.pyc" not in paths:
        tree.file(f"{place}/certifi.py", _CERTIFI.encode(), executable=False)
    zip_modules(tree, place, "lib/packages.zip", lambda path: path.split("/")[0] not in native)
    tree.file(f"{place}/packages.pth", b"../../packages.zip\n../../mlplatform.zip\n", executable=False)


def _packages(python: Interpreter, packages: Path, home: str, cache: Path, root: str, *, sourceless: bool) -> Tree:
    """Packages, and the shared libraries that they alone need."""
    tree = packages_tree(packages, f"{home}/site-packages", slim=True)
    compile_tree(tree, python, cache, under=f"{home}/", root=root, sourceless=sourceless)
    if sourceless:
        _zip_packages(tree, f"{home}/site-packages")
    drop_empty_folders(tree)
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
