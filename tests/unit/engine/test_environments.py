"""Interpreters and environments, with real virtual environments made from wheels of our own, without a network."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from mlplatform.core.errors import EnvironmentFailed
from mlplatform.engine import env_kfp
from mlplatform.engine.env_interpreters import Interpreters, normalise, read_distributions
from mlplatform.engine.env_kfp import nearest, version_key
from mlplatform.engine.env_locks import locked
from mlplatform.engine.env_uv import uv_options, without_passwords
from mlplatform.engine.environments import CachedEnvironments
from mlplatform.engine.ports import Interpreter

BASE = Interpreter(sys.executable, "", "")


def wheel(folder: Path, name: str, version: str, source: str, requires: str = "") -> Path:
    """A wheel with one module."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + (f"Requires-Dist: {requires}\n" if requires else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text)}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name_, text in files.items():
            archive.writestr(name_, text)
    return path


@pytest.fixture
def links(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    wheel(folder, "alpha", "1.0", "VALUE = 1\n")
    wheel(folder, "alpha", "2.0", "VALUE = 2\n")
    wheel(folder, "beta", "1.0", "", requires="alpha<2")
    for version in ("2.6.0", "2.14.3", "2.14.6"):
        wheel(folder, "kfp", version, f"__version__ = {version!r}\n", requires="no-such-dependency")
    return folder


def environ(links: Path) -> dict[str, str]:
    """Settings as a user makes them, for pip."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    return {**own, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links), "UV_CACHE_DIR": str(links.parent / "uv")}


@pytest.fixture
def made(tmp_path: Path, links: Path) -> CachedEnvironments:
    return CachedEnvironments(tmp_path / "cache", environ=environ(links))


def value_in(interpreter: Interpreter, code: str) -> str:
    return subprocess.run(
        [interpreter.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


# ------------------------------------------------------------------ describing
def test_the_digest_stays_until_packages_change(tmp_path: Path, made: CachedEnvironments) -> None:
    first = asyncio.run(made.interpreter(BASE, ["alpha==1.0"], {}))
    assert made.describe(first.executable).digest == first.digest
    site = next(Path(first.executable).parent.parent.glob("lib/*/site-packages"))
    info = site / "alpha-1.0.dist-info"
    os.utime(info)
    assert made.describe(first.executable).digest == first.digest  # touched, not changed
    wheel_again = info.with_name("gamma-3.dist-info")
    wheel_again.mkdir()
    changed = made.describe(first.executable).digest
    assert changed != first.digest
    wheel_again.rmdir()
    assert made.describe(first.executable).digest == first.digest


def test_a_hit_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "known"
    first = Interpreters(folder).describe(sys.executable)
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: pytest.fail("an interpreter was started"))
    again = Interpreters(folder)
    began = time.perf_counter()
    assert again.describe(sys.executable).digest == first.digest
    assert time.perf_counter() - began < 0.1  # measured: 0.0002 s
    assert again.describe(sys.executable) is again.known(sys.executable)


def test_same_packages_by_different_installers_agree(tmp_path: Path) -> None:
    for name, installer, extra in (
        ("a", "pip", "../../../bin/x,sha256=1,2\nalpha/__pycache__/a.pyc,,\n"),
        ("b", "uv", ""),
    ):
        info = tmp_path / name / "alpha-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "INSTALLER").write_text(installer)
        (info / "RECORD").write_text(
            f"alpha/__init__.py,sha256=abc,3\nalpha-1.0.dist-info/INSTALLER,sha256={name},3\n{extra}"
        )
    assert read_distributions([str(tmp_path / "a")]) == read_distributions([str(tmp_path / "b")])
    (tmp_path / "b" / "alpha-1.0.dist-info" / "RECORD").write_text("alpha/__init__.py,sha256=OTHER,3\n")
    assert read_distributions([str(tmp_path / "a")]) != read_distributions([str(tmp_path / "b")])


def test_editable_installs_and_old_eggs(tmp_path: Path) -> None:
    info = tmp_path / "my_project-0.1.dist-info"
    info.mkdir()
    (info / "direct_url.json").write_text('{"dir_info": {"editable": true}, "url": "file:///work/one"}')
    (tmp_path / "Old.Thing.egg-info").mkdir()
    (tmp_path / "Old.Thing.egg-info" / "PKG-INFO").write_text("Name: Old.Thing\nVersion: 7\n\nVersion: 8\n")
    versions, first = read_distributions([str(tmp_path)])
    assert versions == {"my-project": "0.1", "old-thing": "7"}
    (info / "direct_url.json").write_text('{"dir_info": {"editable": true}, "url": "file:///work/two"}')
    assert read_distributions([str(tmp_path)])[1] != first
    assert normalise("Old__Thing.x") == "old-thing-x"


def test_package_folders_of_the_submission_count(tmp_path: Path, made: CachedEnvironments) -> None:
    extra = tmp_path / "site-packages"
    (extra / "zeta-1.dist-info").mkdir(parents=True)
    plain = made.describe(sys.executable)
    more = made.describe(sys.executable, ("/project", str(extra)))
    assert plain.digest != more.digest
    assert more.sys_path == ("/project", str(extra))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\necho boom >&2; exit 3\n", "does not work: boom"),
        ('#!/bin/sh\necho \'{"version": "3.8.18"}\'\n', "is Python 3.8.18; tasks need Python 3.9 or newer"),
        (None, "cannot be started"),
    ],
)
def test_interpreters_that_do_not_do(tmp_path: Path, script: str | None, words: str) -> None:
    python = tmp_path / "python"
    if script:
        python.write_text(script)
        python.chmod(0o755)
    with pytest.raises(EnvironmentFailed, match=words):
        Interpreters(tmp_path / "known").describe(str(python))


# ------------------------------------------------------------------ environments
def test_nothing_asked_is_the_base_itself(made: CachedEnvironments) -> None:
    base = Interpreter(sys.executable, "", "", ("/somewhere",))
    found = asyncio.run(made.interpreter(base, (), {}))
    assert (found.executable, found.sys_path) == (sys.executable, ("/somewhere",))
    assert found.digest.startswith("sha256:")
    assert found.version == platform.python_version()


def test_an_environment_holds_what_was_asked_and_nothing_of_the_submitter(made: CachedEnvironments) -> None:
    found = asyncio.run(made.interpreter(BASE, ["beta"], {}))
    assert value_in(found, "import alpha, beta; print(alpha.VALUE)") == "1"
    assert value_in(found, "import importlib.util as u; print(u.find_spec('msgspec'))") == "None"
    assert found.sys_path == ()


def test_order_makes_no_difference_and_versions_do(made: CachedEnvironments) -> None:
    async def body() -> list[Interpreter]:
        asked = (["beta", "alpha==1.0"], ["alpha==1.0", "beta"], ["alpha==2.0"])
        return [await made.interpreter(BASE, words, {}) for words in asked]

    one, same, other = asyncio.run(body())
    assert one == same
    assert one.executable != other.executable
    assert one.digest != other.digest


def test_two_at_once_make_one(tmp_path: Path, links: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [CachedEnvironments(tmp_path / "cache", environ=environ(links)) for _ in range(2)]
    calls: list[list[str]] = []
    for each in made:
        uv = each._uv
        monkeypatch.setattr(uv, "run", lambda words, env, real=uv.run: calls.append(words) or real(words, env))

    async def body() -> list[Interpreter]:
        return await asyncio.gather(*(each.interpreter(BASE, ["alpha"], {}) for each in made for _ in range(3)))

    assert len(set(asyncio.run(body()))) == 1
    assert len([words for words in calls if words[:2] == ["pip", "install"]]) == 1


def test_failures_carry_the_installers_words_and_leave_nothing(tmp_path: Path, made: CachedEnvironments) -> None:
    with pytest.raises(EnvironmentFailed) as caught:
        asyncio.run(made.interpreter(BASE, ["no-such-thing>=7"], {}))
    assert "no-such-thing" in caught.value.message
    assert "not found" in caught.value.message
    assert [path for path in (tmp_path / "cache" / "envs").iterdir() if path.is_dir()] == []


def test_a_half_made_environment_is_made_again(tmp_path: Path, made: CachedEnvironments, links: Path) -> None:
    first = asyncio.run(made.interpreter(BASE, ["alpha==1.0"], {}))
    folder = Path(first.executable).parent.parent
    (folder / "ready.json").unlink()
    shutil.rmtree(next(folder.glob("lib/*/site-packages/alpha")))
    fresh = CachedEnvironments(tmp_path / "cache", environ=environ(links))
    again = asyncio.run(fresh.interpreter(BASE, ["alpha==1.0"], {}))
    assert again == first
    assert value_in(again, "import alpha; print(alpha.VALUE)") == "1"


def test_one_whose_python_is_gone_is_made_again(made: CachedEnvironments) -> None:
    first = asyncio.run(made.interpreter(BASE, ["alpha"], {}))
    python = Path(first.executable)
    python.unlink()
    python.symlink_to("/no/such/python")
    assert value_in(asyncio.run(made.interpreter(BASE, ["alpha"], {})), "print(1)") == "1"


def test_a_wheel_that_changed_under_its_name_is_another(made: CachedEnvironments, tmp_path: Path) -> None:
    path = wheel(tmp_path / "own", "own", "1", "VALUE = 'old'\n")
    first = asyncio.run(made.interpreter(BASE, [str(path)], {}))
    wheel(tmp_path / "own", "own", "1", "VALUE = 'newer'\n")
    second = asyncio.run(made.interpreter(BASE, [str(path)], {}))
    values = [value_in(found, "import own; print(own.VALUE)") for found in (first, second)]
    assert values == ["old", "newer"]


def test_the_submitters_settings_win(tmp_path: Path, links: Path) -> None:
    made = CachedEnvironments(tmp_path / "cache", environ=environ(tmp_path))
    found = asyncio.run(made.interpreter(BASE, ["alpha"], {"env": environ(links)}))
    assert value_in(found, "import alpha; print(alpha.VALUE)") == "2"


def test_offline_is_said(tmp_path: Path, links: Path) -> None:
    settings = {**environ(links), "MLPLATFORM_OFFLINE": "1"}
    settings.pop("PIP_NO_INDEX")
    made = CachedEnvironments(tmp_path / "cache", environ=settings)
    with pytest.raises(EnvironmentFailed) as caught:
        asyncio.run(made.interpreter(BASE, ["no-such-thing"], {}))
    assert "offline" in caught.value.hint
    found = asyncio.run(made.interpreter(BASE, ["alpha"], {}))  # what is at hand works all the same
    assert value_in(found, "import alpha; print(alpha.VALUE)") == "2"


def test_prune(tmp_path: Path, made: CachedEnvironments) -> None:
    old = asyncio.run(made.interpreter(BASE, ["alpha==1.0"], {}))
    new = asyncio.run(made.interpreter(BASE, ["alpha==2.0"], {}))
    folder = Path(old.executable).parent.parent
    long_ago = time.time() - 1000 * 3600
    os.utime(folder / "ready.json", (long_ago, long_ago))
    with locked(folder.with_name(folder.name + ".lock")):
        assert made.prune(time.time() - 3600).environments == ()  # somebody has it
    removed = made.prune(time.time() - 3600)
    assert removed.environments == (folder.name,)
    assert not folder.exists()
    assert Path(new.executable).exists()
    assert value_in(asyncio.run(made.interpreter(BASE, ["alpha==1.0"], {})), "print(1)") == "1"


def test_a_hit_is_a_use(made: CachedEnvironments) -> None:
    found = asyncio.run(made.interpreter(BASE, ["alpha"], {}))
    mark = Path(found.executable).parent.parent / "ready.json"
    long_ago = time.time() - 10 * 3600
    os.utime(mark, (long_ago, long_ago))
    asyncio.run(made.interpreter(BASE, ["alpha"], {}))
    assert time.time() - mark.stat().st_mtime < 3600
    assert json.loads(mark.read_text())["requirements"] == ["alpha"]


# ------------------------------------------------------------------ pip's words
def test_pip_options() -> None:
    given = [
        "--index-url",
        "https://u:p@host/simple",
        "--trusted-host=host",
        "--extra-index-url",
        "https://b",
        "--pre",
        "-U",
    ]
    assert uv_options(given) == [
        "--default-index",
        "https://u:p@host/simple",
        "--allow-insecure-host",
        "host",
        "--index",
        "https://b",
        "--index-strategy=unsafe-best-match",
        "--prerelease=allow",
    ]
    with pytest.raises(EnvironmentFailed, match="--target is not understood"):
        uv_options(["--target", "x"])
    with pytest.raises(EnvironmentFailed, match="--index-url has no value"):
        uv_options(["--index-url"])
    assert without_passwords("see https://me:pw@host/x and //host") == "see https://host/x and //host"


# ------------------------------------------------------------------ kfp
@pytest.fixture
def bare(made: CachedEnvironments, monkeypatch: pytest.MonkeyPatch) -> Interpreter:
    """An interpreter without kfp, for a service that has none either."""
    monkeypatch.setattr(env_kfp, "_own_version", lambda: "")
    return asyncio.run(made.interpreter(BASE, ["alpha"], {}))


def test_a_runtime_is_kfp_without_its_dependencies(made: CachedEnvironments, bare: Interpreter) -> None:
    folder = asyncio.run(made.kfp_runtime(bare, "2.14.3"))
    code = f"import sys; sys.path.insert(0, {folder!r}); import kfp; print(kfp.__version__)"
    assert value_in(bare, code) == "2.14.3"
    assert asyncio.run(made.kfp_runtime(bare, "2.14.3")) == folder
    assert made.warnings() == []


def test_an_interpreter_that_has_it_needs_nothing(made: CachedEnvironments, links: Path) -> None:
    wheel(links, "kfp", "2.15.0", "")
    own = asyncio.run(made.interpreter(BASE, ["kfp==2.15.0"], {"pip_options": ["--no-deps"]}))
    assert asyncio.run(made.kfp_runtime(own, "2.15.0")) == ""
    assert asyncio.run(made.kfp_runtime(own, "2.14.3")).endswith("kfp-2.14.3")


def test_the_nearest_stands_in_and_that_is_told(made: CachedEnvironments, bare: Interpreter) -> None:
    asyncio.run(made.kfp_runtime(bare, "2.14.3"))
    folder = asyncio.run(made.kfp_runtime(bare, "2.14.5"))
    assert folder.endswith("kfp-2.14.3")
    assert made.warnings()[0].startswith("kfp 2.14.3 stands in for kfp 2.14.5: kfp 2.14.5 could not be installed")
    assert asyncio.run(made.kfp_runtime(bare, "2.0.0b1")).endswith("kfp-2.14.3")
    assert "it has no runtime mode" in made.warnings()[1]


def test_no_kfp_at_all_says_what_to_do(made: CachedEnvironments, bare: Interpreter) -> None:
    with pytest.raises(EnvironmentFailed, match=r"kfp 9\.9\.9, which the pipeline's components import") as caught:
        asyncio.run(made.kfp_runtime(bare, "9.9.9"))
    assert "pip install 'mlplatform[kfp]'" in caught.value.hint


def test_nearest() -> None:
    have = ["2.5.0", "2.6.0", "2.14.3", "2.14.6", "2.17.0"]
    assert nearest("2.14.4", have) == "2.14.6"
    assert nearest("2.9.0", have) == "2.14.3"
    assert nearest("3.0.0", have) == "2.17.0"
    assert nearest("2.0.0b1", have) == "2.17.0"
    assert nearest("2.4.0", ["2.5.0"]) == ""
    assert version_key("2.0.0-beta.13") == (2, 0, 0)
    assert version_key("main") == (0, 0, 0)
