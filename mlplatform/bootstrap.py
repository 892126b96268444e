"""From a bare Python to a working environment, with nothing but the standard library (Python 3.9+).

Two users: the Makefile runs this file with the machine's own ``python3`` (``python3 -I mlplatform/bootstrap.py``),
where there may be no pip, no ensurepip and no venv; the engine imports :func:`find_uv` to make environments for
the packages that components ask for. Everything rests on one tool, ``uv``: it makes virtual environments without
``venv`` and knows the default package index. Where uv is missing, it is fetched as a wheel, once, into the cache:

1. from the index or the folders that pip's and uv's settings name (``PIP_INDEX_URL``, ``UV_DEFAULT_INDEX``,
   ``PIP_FIND_LINKS``, pip.conf ...), checked against the index's sha256;
2. else by pip, where there is one: it knows its own default index;
3. else by Debian's pip wheel, which ``apt-get download`` gives without being root.

No address of a package index stands in this project; a machine with none of the three is told to set one.
"""

from __future__ import annotations

import base64
import configparser
import errno
import hashlib
import html.parser
import json
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

#: Oldest uv whose options are used here (dependency groups, constraints with hashes).
OLDEST_UV = (0, 5, 0)
#: What fetching uv costs, for messages (bytes of its Linux wheel, rounded up).
UV_MEGABYTES = 26


class BootstrapError(RuntimeError):
    """An environment could not be made. ``hint`` says what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


# ------------------------------------------------------------------ settings of pip and uv
def pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """pip's ``[global]`` and ``[install]`` settings by their long names; later files and the environment win."""
    home = Path(environ.get("HOME") or Path.home())
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), home / ".pip/pip.conf"]
    files += [home / "Library/Application Support/pip/pip.conf", config / "pip/pip.conf"]
    if environ.get("VIRTUAL_ENV"):
        files.append(Path(environ["VIRTUAL_ENV"]) / "pip.conf")
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        files = []
    elif named:
        files.append(Path(named))
    found: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (OSError, configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update({name.replace("_", "-"): value for name, value in parser.items(section)})
    for name, value in environ.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE" and value:
            found[name[4:].lower().replace("_", "-")] = value
    return found


def uv_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` with pip's index, proxy and CA settings said in uv's words. Settings made for uv itself win."""
    env = dict(environ)
    pip = pip_settings(environ)

    def default(name: str, value: str, *instead: str) -> None:
        if value and not any(env.get(other) for other in (name, *instead)):
            env[name] = value

    default("UV_DEFAULT_INDEX", pip.get("index-url", ""), "UV_INDEX_URL")
    default("UV_INDEX", " ".join(pip.get("extra-index-url", "").split()), "UV_EXTRA_INDEX_URL")
    links = [link for link in pip.get("find-links", "").split() if "://" in link or Path(link).is_dir()]
    default("UV_FIND_LINKS", ",".join(links))
    default("UV_INSECURE_HOST", " ".join(pip.get("trusted-host", "").split()))
    default("UV_NO_INDEX", "1" if pip.get("no-index", "").lower() in ("1", "true", "yes", "on") else "")
    default("UV_HTTP_TIMEOUT", pip.get("default-timeout", "") or pip.get("timeout", ""))
    default("SSL_CERT_FILE", pip.get("cert", "") or environ.get("REQUESTS_CA_BUNDLE", ""))
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        default(name, pip.get("proxy", ""), name.lower(), "ALL_PROXY", "all_proxy")
    env.pop("VIRTUAL_ENV", None)  # an activated environment is not the one to fill
    return env


# ------------------------------------------------------------------ finding uv
def _works(uv: Path, environ: Mapping[str, str], patience: float = 30.0) -> bool:
    """Whether ``uv`` runs and is new enough (a pyenv shim may stand for nothing). ``patience``: seconds it may take."""
    try:
        told = _run_once_closed(
            lambda: subprocess.run(
                [str(uv), "--version"], capture_output=True, text=True, timeout=patience, check=False, env=dict(environ)
            )
        )
    except (OSError, subprocess.SubprocessError):
        return False
    version = re.match(r"uv (\d+)\.(\d+)\.(\d+)", told.stdout)
    return told.returncode == 0 and version is not None and tuple(map(int, version.groups())) >= OLDEST_UV


def _run_once_closed(start: Callable[[], subprocess.CompletedProcess[str]]) -> subprocess.CompletedProcess[str]:
    """Run a file that was written a moment ago. Raises what ``start`` raises.

    A process that another thread forked while the file was open for writing keeps it open until it executes something
    itself; for that moment the kernel refuses to run it (ETXTBSY). Nothing but waiting helps.
    """
    pause = 0.001
    while True:
        try:
            return start()
        except OSError as error:
            if error.errno != errno.ETXTBSY or pause > 10.0:
                raise
        time.sleep(pause)
        pause *= 2


def _candidates(cache: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    name = "uv.exe" if os.name == "nt" else "uv"
    if environ.get("MLPLATFORM_UV"):
        yield Path(environ["MLPLATFORM_UV"])
    yield Path(sys.executable).parent / name
    for folder in environ.get("PATH", "").split(os.pathsep):
        if folder and (Path(folder) / name).is_file():
            yield Path(folder) / name
    yield cache / "bin" / name
    yield Path.home() / ".local" / "bin" / name


def find_uv(cache: Path, offline: bool = False, environ: Mapping[str, str] | None = None) -> Path:
    """Path of a working ``uv``: this environment's, PATH's, the cached one, or one fetched into ``cache``.

    Args:
        cache: folder shared by all users of this function (made when missing); safe for many at once.
        offline: never touch the network.
        environ: settings to honour instead of ``os.environ``.

    Raises:
        BootstrapError: there is none and it could not be fetched; ``hint`` tells what to do.
    """
    environ = os.environ if environ is None else environ
    for candidate in _candidates(cache, environ):
        if candidate.is_file() and _works(candidate, environ):
            return candidate
    if offline:
        raise BootstrapError(
            "uv is not on this machine and --offline forbids fetching it.",
            "Put uv on PATH, set MLPLATFORM_UV to it, or run once without --offline.",
        )
    target = cache / "bin" / ("uv.exe" if os.name == "nt" else "uv")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="uv-", dir=cache) as scratch:
        wheel = _fetch_wheel(Path(scratch), environ)
        unpacked = _unpack_binary(wheel, Path(scratch) / target.name)
        if not _works(unpacked, environ, 120.0):
            raise BootstrapError(f"The uv in {wheel.name} does not run on this machine.", "Install uv by other means.")
        unpacked.replace(target)  # atomic: another process sees no uv or a whole one
    return target


def _unpack_binary(wheel: Path, to: Path) -> Path:
    """Take the one executable out of uv's wheel. Raises BootstrapError if there is none."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"uv-[^/]+\.data/scripts/uv(\.exe)?", name):
                to.write_bytes(archive.read(name))
                to.chmod(0o755)
                return to
    raise BootstrapError(f"{wheel.name} holds no uv.", "Install uv by other means.")


# ------------------------------------------------------------------ fetching uv's wheel
def _fetch_wheel(scratch: Path, environ: Mapping[str, str]) -> Path:
    """uv's wheel for this machine, in ``scratch``. Raises BootstrapError with what was tried."""
    env = uv_environment(environ)
    tried: list[str] = []
    folders = [Path(link) for link in env.get("UV_FIND_LINKS", "").split(",") if link and "://" not in link]
    local = [_File(wheel.name, str(wheel), "") for folder in folders for wheel in folder.glob("uv-*.whl")]
    if local:
        try:
            return Path(_newest(local).url)
        except BootstrapError as error:
            tried.append(f"find-links: {error}")
    index = env.get("UV_DEFAULT_INDEX") or env.get("UV_INDEX_URL") or ""
    if index and not env.get("UV_NO_INDEX"):
        try:
            return _from_index(index, scratch, env)
        except (BootstrapError, OSError, ValueError) as error:
            tried.append(f"package index: {_without_password(str(error))}")
    for pip in _pips(environ):
        try:
            return _by_pip(pip, scratch, environ)
        except BootstrapError as error:
            tried.append(f"{' '.join(pip)}: {error}")
    try:
        return _by_pip([sys.executable, str(_debian_pip(scratch)) + "/pip"], scratch, environ)
    except BootstrapError as error:
        tried.append(f"Debian's pip: {error}")
    raise BootstrapError(
        "uv could not be fetched:\n" + "\n".join(f"  - {line}" for line in tried),
        "Set PIP_INDEX_URL to your package index (or UV_DEFAULT_INDEX), check proxy and CA settings, "
        "or put uv on PATH.",
    )


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]+@", "//", text)


def _pips(environ: Mapping[str, str]) -> Iterator[list[str]]:
    """Commands that may be a pip, best first."""
    yield [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        found = shutil.which(name, path=environ.get("PATH"))
        if found:
            yield [found]


def _by_pip(pip: list[str], scratch: Path, environ: Mapping[str, str]) -> Path:
    """Let pip download (and check) uv's wheel. Raises BootstrapError with pip's last line."""
    into = Path(tempfile.mkdtemp(dir=scratch))
    command = [*pip, "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(into), "uv"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=600, check=False, env=dict(environ), cwd=str(into)
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BootstrapError(str(error)) from None
    wheels = sorted(into.glob("uv-*.whl"))
    if done.returncode or not wheels:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        raise BootstrapError(_without_password(lines[-1]))
    return wheels[0]


def _debian_pip(scratch: Path) -> Path:
    """The pip wheel of Debian and Ubuntu (package python3-pip-whl, 2 MB), unpacked nowhere but in ``scratch``."""
    installed = sorted(Path("/usr/share/python-wheels").glob("pip-*.whl"))
    if installed:
        return installed[-1]
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise BootstrapError("this is no Debian or Ubuntu")
    lists, cache = scratch / "lists", scratch / "apt"
    private = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={cache}", "-o", "APT::Sandbox::User="]
    (lists / "partial").mkdir(parents=True)
    (cache / "archives/partial").mkdir(parents=True)
    download = ["download", "python3-pip-whl"]
    for commands in ([["apt-get", *download]], [["apt-get", *private, "update"], ["apt-get", *private, *download]]):
        done = [subprocess.run(c, cwd=str(scratch), capture_output=True, text=True, check=False) for c in commands]
        packages = sorted(scratch.glob("python3-pip-whl_*.deb"))
        if packages and not done[-1].returncode:
            subprocess.run(["dpkg-deb", "-x", str(packages[-1]), str(scratch / "deb")], check=True)
            return next((scratch / "deb/usr/share/python-wheels").glob("pip-*.whl"))
    raise BootstrapError((done[-1].stderr.strip().splitlines() or ["apt-get download failed"])[-1])


class _File(NamedTuple):
    name: str
    url: str
    sha256: str


class _Links(html.parser.HTMLParser):
    """Files of a simple index page in HTML (many private indexes speak nothing else)."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.files: list[_File] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href") if tag == "a" else None
        if href:
            url, _, fragment = urllib.parse.urljoin(self.base, href).partition("#")
            sha256 = urllib.parse.parse_qs(fragment).get("sha256", [""])[0]
            self.files.append(_File(urllib.parse.unquote(url.rsplit("/", 1)[-1]), url, sha256))


def _open(url: str, env: Mapping[str, str], accept: str) -> tuple[str, str, bytes]:
    """(final address, content type, body). Proxies come from the environment; credentials may stand in ``url``."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise BootstrapError(f"an index is reached by http or https, not by {parts.scheme or 'a path'}")
    context = ssl.create_default_context(cafile=env.get("SSL_CERT_FILE") or None)
    request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310 - checked above
    if parts.username:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        request = urllib.request.Request(bare.geturl(), headers={"Accept": accept})  # noqa: S310
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    proxies = {s: env.get(f"{s}_proxy") or env.get(f"{s.upper()}_PROXY") or "" for s in ("http", "https")}
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context),
        urllib.request.ProxyHandler({scheme: proxy for scheme, proxy in proxies.items() if proxy}),
    )
    with opener.open(request, timeout=float(env.get("UV_HTTP_TIMEOUT") or 60)) as answer:
        return answer.geturl(), answer.headers.get_content_type(), answer.read()


def _from_index(index: str, scratch: Path, env: Mapping[str, str]) -> Path:
    """uv's newest wheel for this machine from a simple index (JSON or HTML). Raises BootstrapError, OSError."""
    accept = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
    base, kind, body = _open(index.rstrip("/") + "/uv/", env, accept)
    if kind.endswith("+json"):
        files = [
            _File(file["filename"], urllib.parse.urljoin(base, file["url"]), file.get("hashes", {}).get("sha256", ""))
            for file in json.loads(body)["files"]
            if not file.get("yanked")
        ]
    else:
        page = _Links(base)
        page.feed(body.decode("utf-8", "replace"))
        files = page.files
    wanted = _newest(files)
    if not wanted.sha256:
        raise BootstrapError(f"the index gives no sha256 for {wanted.name}")
    data = _open(wanted.url, env, "*/*")[2]
    if hashlib.sha256(data).hexdigest() != wanted.sha256:
        raise BootstrapError(f"{wanted.name} is not what the index says it is (sha256 differs)")
    wheel = scratch / wanted.name
    wheel.write_bytes(data)
    return wheel


def _newest(files: list[_File]) -> _File:
    """The newest final release of uv with a wheel for this machine. Raises BootstrapError."""
    machine = platform.machine().lower()
    machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(machine, machine)
    if sys.platform == "darwin":
        tags = [rf"macosx_\d+_\d+_{'arm64' if machine == 'aarch64' else machine}"]
    elif os.name == "nt":
        tags = ["win_" + {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)]
    elif platform.libc_ver()[0] == "glibc":
        tags = [rf"manylinux\w*_{machine}[\w.]*", rf"musllinux\w*_{machine}"]
    else:
        tags = [rf"musllinux\w*_{machine}"]
    for tag in tags:
        found: list[tuple[tuple[int, ...], _File]] = []
        for file in files:
            name = re.fullmatch(rf"uv-(\d+(?:\.\d+)*)-py3-none-(?:[\w.]*\.)?{tag}\.whl", file.name)
            if name:
                found.append((tuple(map(int, name.group(1).split("."))), file))
        if found:
            return max(found)[1]
    raise BootstrapError(f"the index has no uv for {sys.platform} on {machine}")
