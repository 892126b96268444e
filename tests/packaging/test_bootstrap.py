"""Getting uv on a machine that has nothing: an index of our own, a wheel of our own, no pip and no PATH."""

from __future__ import annotations

import ast
import functools
import hashlib
import http.server
import io
import json
import os
import platform
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlplatform import bootstrap

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "#!/bin/sh\necho 'uv {version} (test)'\n"
MACHINE = {"arm64": "aarch64", "amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the wheel of these tests holds a shell script")


def wheel_name(version: str) -> str:
    tag = f"macosx_11_0_{platform.machine()}" if sys.platform == "darwin" else f"manylinux_2_17_{MACHINE}"
    return f"uv-{version}-py3-none-{tag}.whl"


def wheel(version: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(f"uv-{version}.data/scripts/uv", SCRIPT.format(version=version))
    return data.getvalue()


class Index:
    """A simple index on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        handler = functools.partial(self._handler(), directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"
        self.asked: list[str] = []
        self.kind = "application/vnd.pypi.simple.v1+json"
        self.authorization = ""

    def _handler(index) -> type[http.server.SimpleHTTPRequestHandler]:
        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                index.asked.append(self.path)
                index.authorization = self.headers.get("Authorization", "")
                if self.path == "/simple/uv/":
                    body = (index.folder / "page").read_bytes()
                    self.send_response(200)
                    self.send_header("Content-Type", index.kind)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                else:
                    super().do_GET()

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def offer(self, *versions: str, html: bool = False, spoil: str = "") -> None:
        files = []
        for version in versions:
            data = wheel(version)
            (self.folder / wheel_name(version)).write_bytes(data)
            sha256 = hashlib.sha256(b"other" if version == spoil else data).hexdigest()
            files.append({"filename": wheel_name(version), "url": f"../../{wheel_name(version)}", "sha256": sha256})
        if html:
            self.kind = "text/html"
            links = "".join(f'<a href="{f["url"]}#sha256={f["sha256"]}">{f["filename"]}</a>' for f in files)
            (self.folder / "page").write_text(f"<!doctype html><body>{links}")
        else:
            page = {"files": [{**f, "hashes": {"sha256": f["sha256"]}, "yanked": False} for f in files]}
            (self.folder / "page").write_text(json.dumps(page))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "index"
    folder.mkdir()
    served = Index(folder)
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment without uv, pip and apt."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere" / "python"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))

    def no_debian(scratch: Path) -> Path:
        raise bootstrap.BootstrapError("this is no Debian or Ubuntu")

    monkeypatch.setattr(bootstrap, "_debian_pip", no_debian)
    return {"HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "nothing"), "PIP_CONFIG_FILE": os.devnull}


def version_of(uv: Path) -> str:
    return subprocess.run([str(uv)], capture_output=True, text=True, check=True).stdout.split()[1]


@pytest.mark.parametrize("html", [False, True], ids=["json", "html"])
def test_the_newest_uv_comes_from_the_index_that_the_settings_name(
    index: Index, bare: dict[str, str], tmp_path: Path, html: bool
) -> None:
    index.offer("0.9.0", "0.10.2", "0.6.1", html=html)
    uv = bootstrap.find_uv(tmp_path / "cache", environ={**bare, "PIP_INDEX_URL": index.url})
    assert version_of(uv) == "0.10.2"
    assert uv == tmp_path / "cache" / "bin" / "uv"


def test_a_second_call_uses_the_cached_one(index: Index, bare: dict[str, str], tmp_path: Path) -> None:
    index.offer("0.9.0")
    environ = {**bare, "UV_DEFAULT_INDEX": index.url}
    first = bootstrap.find_uv(tmp_path / "cache", environ=environ)
    asked = len(index.asked)
    assert bootstrap.find_uv(tmp_path / "cache", offline=True, environ=environ) == first
    assert len(index.asked) == asked


def test_credentials_in_the_address_are_sent_and_never_told(index: Index, bare: dict[str, str], tmp_path: Path) -> None:
    index.offer("0.9.0", spoil="0.9.0")
    url = index.url.replace("http://", "http://me:hunter2@")
    with pytest.raises(bootstrap.BootstrapError) as caught:
        bootstrap.find_uv(tmp_path / "cache", environ={**bare, "PIP_INDEX_URL": url})
    assert "hunter2" not in str(caught.value)
    assert "sha256 differs" in str(caught.value)


def test_a_file_that_is_not_what_the_index_says_is_refused(index: Index, bare: dict[str, str], tmp_path: Path) -> None:
    index.offer("0.9.0", spoil="0.9.0")
    with pytest.raises(bootstrap.BootstrapError, match="sha256 differs"):
        bootstrap.find_uv(tmp_path / "cache", environ={**bare, "PIP_INDEX_URL": index.url})
    assert not (tmp_path / "cache" / "bin" / "uv").exists()
    assert list((tmp_path / "cache").glob("uv-*")) == []


def test_find_links_folders_count(bare: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / wheel_name("0.9.3")).write_bytes(wheel("0.9.3"))
    uv = bootstrap.find_uv(tmp_path / "cache", environ={**bare, "PIP_FIND_LINKS": f"{folder} {tmp_path / 'no'}"})
    assert version_of(uv) == "0.9.3"


def test_many_at_once_end_with_one_whole_uv(index: Index, bare: dict[str, str], tmp_path: Path) -> None:
    index.offer("0.9.0")
    environ = {**bare, "PIP_INDEX_URL": index.url}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: bootstrap.find_uv(tmp_path / "cache", environ=environ), range(8)))
    assert {version_of(uv) for uv in found} == {"0.9.0"}
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == ["bin"]
    assert [p.name for p in (tmp_path / "cache" / "bin").iterdir()] == ["uv"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems run a file that is open for writing")
def test_a_uv_that_another_process_still_holds_open_is_waited_for(
    index: Index, bare: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a fork in another thread does to a file just written: it cannot be executed for a moment (ETXTBSY)."""
    index.offer("0.9.0")
    unpack = bootstrap._unpack_binary

    def held(wheel: Path, to: Path) -> Path:
        unpacked = unpack(wheel, to)
        writer = unpacked.open("ab")
        with pytest.raises(OSError, match="busy"):
            subprocess.run([str(unpacked)], check=False)
        threading.Timer(0.3, writer.close).start()
        return unpacked

    monkeypatch.setattr(bootstrap, "_unpack_binary", held)
    uv = bootstrap.find_uv(tmp_path / "cache", environ={**bare, "PIP_INDEX_URL": index.url})
    assert version_of(uv) == "0.9.0"


def test_an_old_uv_on_the_path_is_passed_over(index: Index, bare: dict[str, str], tmp_path: Path) -> None:
    old = tmp_path / "nothing"
    old.mkdir()
    (old / "uv").write_text(SCRIPT.format(version="0.2.1"))
    (old / "uv").chmod(0o755)
    index.offer("0.9.0")
    uv = bootstrap.find_uv(tmp_path / "cache", environ={**bare, "PIP_INDEX_URL": index.url})
    assert version_of(uv) == "0.9.0"


def test_offline_never_fetches(bare: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(bootstrap.BootstrapError, match="--offline") as caught:
        bootstrap.find_uv(tmp_path / "cache", offline=True, environ=bare)
    assert "MLPLATFORM_UV" in caught.value.hint


def test_a_machine_with_nothing_is_told_what_to_set(bare: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(bootstrap.BootstrapError) as caught:
        bootstrap.find_uv(tmp_path / "cache", environ=bare)
    assert "PIP_INDEX_URL" in caught.value.hint


def test_settings_of_pip_are_said_in_uvs_words(tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    conf = tmp_path / "pip.conf"
    conf.write_text(
        "[global]\nindex-url = http://mirror/simple\nextra-index-url =\n  http://a/simple\n  http://b/simple\n"
        f"cert = /ca.pem\nproxy = http://proxy:3128\ntrusted-host = mirror\ntimeout = 90\n"
        f"[install]\nfind-links = {tmp_path / 'links'} {tmp_path / 'gone'}\n"
    )
    env = bootstrap.uv_environment({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(conf), "VIRTUAL_ENV": "/v"})
    assert {k: v for k, v in env.items() if not k.startswith(("HOME", "PIP"))} == {
        "UV_DEFAULT_INDEX": "http://mirror/simple",
        "UV_INDEX": "http://a/simple http://b/simple",
        "UV_FIND_LINKS": str(tmp_path / "links"),
        "UV_INSECURE_HOST": "mirror",
        "UV_HTTP_TIMEOUT": "90",
        "SSL_CERT_FILE": "/ca.pem",
        "HTTP_PROXY": "http://proxy:3128",
        "HTTPS_PROXY": "http://proxy:3128",
    }


def test_the_environment_beats_the_file_and_uv_beats_pip(tmp_path: Path) -> None:
    conf = tmp_path / "pip.conf"
    conf.write_text("[global]\nindex-url = http://file/simple\n")
    base = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(conf)}
    assert bootstrap.uv_environment({**base, "PIP_INDEX_URL": "http://env/"})["UV_DEFAULT_INDEX"] == "http://env/"
    assert bootstrap.uv_environment({**base, "UV_DEFAULT_INDEX": "http://uv/"})["UV_DEFAULT_INDEX"] == "http://uv/"
    assert "UV_DEFAULT_INDEX" not in bootstrap.uv_environment({**base, "UV_INDEX_URL": "http://uv/"})


def test_it_runs_on_python_3_9() -> None:
    """The file is run by whatever python3 a machine has: no syntax and no module of later versions."""
    tree = ast.parse((ROOT / "mlplatform/bootstrap.py").read_text(encoding="utf-8"), feature_version=(3, 9))
    modules = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    modules |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert modules <= set(sys.stdlib_module_names) - {"tomllib"}
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Match)]
