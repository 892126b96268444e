"""Packages as a virtual environment on top of a base image's Python, in layers that the next build uses again.

::

    /opt/mlplatform/venv/       bin/python leads to the base's interpreter; lib/pythonX.Y/site-packages
    /opt/mlplatform/project/    the project's code, on that Python's path
    /opt/mlplatform/requirements.txt
"""

from __future__ import annotations

import configparser
import csv
from pathlib import Path
from typing import Final

from mlplatform.images.interpreter import Interpreter
from mlplatform.images.packages import own_package, packages_tree
from mlplatform.images.pyc import compile_tree
from mlplatform.images.tree import Tree

VENV: Final = "/opt/mlplatform/venv"
PROJECT: Final = "/opt/mlplatform/project"
#: A distribution of this size (bytes, unpacked) is a layer of its own: changing another one does not move it again.
_BIG: Final = 25 << 20
_SCRIPT: Final = """#!{venv}/bin/python
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.exit({call}())
"""
#: Where wheels put what is not a module, beside the packages themselves.
_DATA: Final = ("share", "etc", "include")


def environment_trees(
    packages: Path, python: str, version: str, requirements: str, compiler: Interpreter | None, cache: Path
) -> dict[str, Tree]:
    """The environment as trees to make layers of: each big distribution, then all others with what holds them together.

    Args:
        packages: a folder of packages (``packages.unpacked``).
        python: the path of the base's interpreter; ``version``: its ``3.11``.
        requirements: what is in it, for people to read.
        compiler: an interpreter of the same version that compiles; None: there is none here.
    """
    home = f"{VENV}/lib/python{version}"
    site = f"{home}/site-packages"
    whole = packages_tree(packages, site)
    for name in _DATA:
        _move(whole, f"{site}/{name}", f"{VENV}/{name}")
    rest, big = Tree(), dict[str, Tree]()
    owners = _owners(packages)
    sizes: dict[str, int] = {}
    for path, entry in whole.entries():
        owner = owners.get(path.removeprefix(site.lstrip("/") + "/"), "")
        sizes[owner] = sizes.get(owner, 0) + entry.size
    for path, entry in whole.entries():
        owner = owners.get(path.removeprefix(site.lstrip("/") + "/"), "")
        tree = big.setdefault(owner, Tree()) if owner and sizes[owner] >= _BIG else rest
        tree.put(path, entry)
    rest.merge(own_package(site))
    _skeleton(rest, packages, python, version, site, requirements)
    if compiler is not None:
        for tree in (*big.values(), rest):
            compile_tree(tree, compiler, cache)
    return {**dict(sorted(big.items())), "other packages": rest}


def _skeleton(tree: Tree, packages: Path, python: str, version: str, site: str, requirements: str) -> None:
    told = f"home = {python.rpartition('/')[0]}\ninclude-system-site-packages = false\nversion = {version}\n"
    tree.file(f"{VENV}/pyvenv.cfg", told.encode())
    tree.symlink(f"{VENV}/bin/python", python)
    for name in ("python3", f"python{version}"):
        tree.symlink(f"{VENV}/bin/{name}", "python")
    tree.file(f"{site}/mlplatform-project.pth", f"{PROJECT}\n".encode())
    tree.file("opt/mlplatform/requirements.txt", requirements.encode())
    tree.folder(PROJECT)
    for file in sorted(packages.glob("*.dist-info/entry_points.txt")):
        for name, script in _scripts(file).items():
            tree.file(f"{VENV}/bin/{name}", script.encode(), executable=True)
    own = _SCRIPT.format(venv=VENV, module="mlplatform.cli.main", first="main", call="main")
    tree.file(f"{VENV}/bin/mlplatform", own.encode(), executable=True)


def _scripts(file: Path) -> dict[str, str]:
    """The commands of a distribution, as an installer writes them."""
    parser = configparser.ConfigParser(delimiters=("=",), strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
    except (configparser.Error, UnicodeDecodeError):
        return {}
    found: dict[str, str] = {}
    for name, target in parser.items("console_scripts") if parser.has_section("console_scripts") else ():
        module, _, call = target.partition("[")[0].strip().partition(":")
        if module and call and "/" not in name:
            first = call.split(".")[0]
            found[name] = _SCRIPT.format(venv=VENV, module=module, first=first, call=call)
    return found


def _owners(packages: Path) -> dict[str, str]:
    """Which distribution a file belongs to, by its path below the packages' folder."""
    found: dict[str, str] = {}
    for record in packages.glob("*.dist-info/RECORD"):
        name = record.parent.name.removesuffix(".dist-info").replace("-", " ")
        with record.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                if row:
                    found[row[0]] = name
    return found


def _move(tree: Tree, source: str, to: str) -> None:
    prefix = source.lstrip("/") + "/"
    for path, entry in [each for each in tree.entries() if each[0].startswith(prefix)]:
        tree.remove(path)
        tree.put(f"{to}/{path.removeprefix(prefix)}", entry)
    tree.remove(source)
