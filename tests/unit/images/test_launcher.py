"""The launcher image, unpacked and run where there is nothing else, and beside what images of other kinds bring."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mlplatform.images.launcher import build_launcher
from mlplatform.images.layout import Layout
from mlplatform.images.model import Descriptor, read_object
from mlplatform.images.platform import ImageRef
from tests.support.images import archive
from tests.support.roots import inside, unpack

PYTHON = "/mlplatform/bin/python"


@pytest.fixture(scope="module")
def launcher() -> ImageRef:
    """Built in the cache folder that all builds share."""
    return build_launcher()


@pytest.fixture(scope="module")
def root(launcher: ImageRef, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(launcher.layout, launcher.descriptor, tmp_path_factory.mktemp("launcher"))


def guest(name: str, root: Path, tmp_path: Path) -> Path:
    """A test image with a copy of the launcher where a pod has it."""
    layout = Layout(tmp_path / "layout")
    (image,) = layout.load(archive(name))
    unpacked = unpack(layout, Descriptor(image.media_type, image.digest, image.size), tmp_path / name)
    place = unpacked / "opt" / "launcher"
    place.parent.mkdir(exist_ok=True)
    shutil.copytree(root / "mlplatform", place, symlinks=True)
    return unpacked


def test_it_runs_in_an_empty_root(root: Path) -> None:
    assert [path.name for path in root.iterdir()] == ["mlplatform"]
    code = "import bz2, ctypes, hashlib, lzma, socket, sqlite3, ssl, sys, uuid, zlib, msgspec, json\n"
    code += "print(json.dumps([sys.executable, sys.prefix, sys.version_info[:2], ssl.OPENSSL_VERSION[:7]]))"
    told = json.loads(inside(root, PYTHON, "-I", "-c", code).stdout)
    assert told[:2] == [PYTHON, "/mlplatform"]
    assert told[3] == "OpenSSL"


def test_it_starts_itself_again(root: Path) -> None:
    code = "import subprocess, sys; print(subprocess.check_output([sys.executable, '-c', 'print(6 * 7)'], text=True))"
    assert inside(root, PYTHON, "-c", code).stdout.strip() == "42"


def test_its_entry_point_is_the_launcher_in_a_pod(root: Path) -> None:
    told = inside(root, "/mlplatform/bin/launcher", "no-such-command", check=False)
    assert told.returncode != 0
    assert "bundle is not whole" not in told.stderr


def test_it_stores_artifacts(root: Path) -> None:
    code = "import boto3; print(boto3.client('s3', region_name='x').meta.endpoint_url)"
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    assert inside(root, PYTHON, "-I", "-c", code, env=env).stdout.startswith("https://s3")


def test_a_copy_elsewhere_runs_too(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "mlplatform", tmp_path / "somewhere/else", symlinks=True)
    told = inside(tmp_path, "/somewhere/else/bin/python", "-I", "-c", "import sys, msgspec; print(sys.prefix)")
    assert told.stdout.strip() == "/somewhere/else"


def test_a_pod_gets_a_copy_of_what_its_task_needs_in_few_files(root: Path, tmp_path: Path) -> None:
    # every pod makes and removes these files: a thousand of them took longer than all else of a small task
    for folder, what in (("whole", []), ("command", ["command"])):
        (tmp_path / folder).mkdir()
        for _ in range(2):
            subprocess.run([root / "mlplatform/bin/launcher", "install", tmp_path / folder, *what], check=True)
    whole, command = (sum(1 for _ in (tmp_path / folder).rglob("*")) for folder in ("whole", "command"))
    assert whole == sum(1 for _ in (root / "mlplatform").rglob("*"))
    assert command < 200
    assert (tmp_path / "command/bin/launcher").stat().st_mode & 0o777 == 0o755
    code = "import boto3, json, mlplatform.launcher.entry as entry; from botocore.httpsession import where\n"
    code += "print(json.dumps([boto3.client('s3', region_name='x').meta.endpoint_url, where(), entry.__file__]))"
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    told = inside(tmp_path, "/command/bin/python", "-I", "-c", code, env=env)
    endpoint, certificates, place = json.loads(told.stdout)
    assert endpoint.startswith("https://s3")
    assert (tmp_path / certificates.lstrip("/")).stat().st_size > 100_000
    assert place.endswith("lib/mlplatform.zip/mlplatform/launcher/entry.pyc")


def test_what_an_image_sets_for_its_own_programs_does_not_reach_it_and_is_given_back(root: Path) -> None:
    code = "import json, os; from mlplatform.launcher.bundle import kfp_folder, root, user_environment\n"
    code += "print(json.dumps([dict(user_environment(os.environ)), root(), kfp_folder(), sorted(os.environ)]))"
    env = {"LD_PRELOAD": "/nowhere.so", "LD_LIBRARY_PATH": "/opt/lib", "PYTHONHOME": "/wrong", "PYTHONPATH": "/wrong"}
    done = inside(root, PYTHON, "-I", "-c", code, env={**env, "PATH": "/bin"})
    assert done.stderr == ""
    user, place, kfp, seen = json.loads(done.stdout)
    assert user == {**env, "PATH": "/bin"}
    assert (place, kfp) == ("/mlplatform", "/mlplatform/kfp")
    assert "LD_PRELOAD" not in seen
    assert "SSL_CERT_FILE" in seen


@pytest.mark.parametrize("name", ["static", "musl"])
def test_it_runs_in_images_of_any_kind(root: Path, tmp_path: Path, name: str) -> None:
    place = guest(name, root, tmp_path)
    told = inside(place, "/opt/launcher/bin/python", "-I", "-c", "import sys, ssl, msgspec; print(sys.prefix)")
    assert told.stdout.strip() == "/opt/launcher"


def test_an_old_python_of_the_image_finds_kfps_runtime_and_our_launcher(root: Path, tmp_path: Path) -> None:
    place = guest("bullseye", root, tmp_path)
    assert inside(place, "python3", "--version").stdout.startswith("Python 3.9.")
    env = {"_KFP_RUNTIME": "true", "PYTHONPATH": "/opt/launcher/kfp"}
    code = "import kfp.dsl.executor, kfp.dsl.executor_main; print(kfp.__file__)"
    assert inside(place, "python3", "-c", code, env=env).stdout.strip() == "/opt/launcher/kfp/kfp/__init__.py"
    (door,) = (place / "opt/launcher/lib").glob("python3*/site-packages/mlplatform/launcher/__main__.py")
    told = inside(place, "python3", "/" + str(door.relative_to(place)), check=False)
    assert told.stderr.strip() == "usage: launcher SPEC.json"
    assert inside(place, "/opt/launcher/bin/python", "-I", "-c", "import ssl, msgspec; print(1)").stdout.strip() == "1"


def test_what_its_configuration_says(launcher: ImageRef) -> None:
    manifest = launcher.layout.manifest(launcher.descriptor)
    config = read_object(launcher.layout.read(manifest.config))
    assert config["config"]["Entrypoint"] == ["/mlplatform/bin/launcher"]
    assert config["config"]["User"] == "65532:65532"
    assert len(manifest.layers) == 3
    assert sum(blob.size for blob in manifest.layers) < 30e6


def test_built_anew_from_nothing_it_has_the_same_digest(launcher: ImageRef, tmp_path: Path) -> None:
    previous = os.umask(0o077)
    try:
        again = build_launcher(tmp_path / "launcher.tar", layout=Layout(tmp_path / "fresh"))
    finally:
        os.umask(previous)
    assert again.digest == launcher.digest
    assert (tmp_path / "launcher.tar").stat().st_size < 30e6
