from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.errors import InvalidInput
from mlplatform.images.environment import Installed, normal, read_environment, resolve, uv_platform
from mlplatform.images.model import Platform


def install(
    folder: Path, name: str, version: str = "1.0", url: Mapping[str, Any] | None = None, by: str = "uv"
) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "INSTALLER").write_text(by + "\n")
    if url is not None:
        (info / "direct_url.json").write_text(json.dumps(url))


def test_every_package_in_its_version_by_its_normal_name(tmp_path: Path) -> None:
    install(tmp_path, "Zope.Interface", "6.0")
    install(tmp_path, "cronsim", "2.6")
    install(tmp_path, "mlplatform", "0.1.0")
    install(tmp_path, "left_out", "1.0")
    found, findings = read_environment(["Left.Out"], [str(tmp_path)])
    assert [each.requirement for each in found] == ["cronsim==2.6", "zope-interface==6.0"]
    assert findings == []


def test_everything_that_cannot_travel_is_told_at_once(tmp_path: Path) -> None:
    wheel = tmp_path / "kept-1.0-py3-none-any.whl"
    wheel.write_bytes(b"")
    site = tmp_path / "site"
    install(site, "editable", url={"url": "file:///srv/project", "dir_info": {"editable": True}})
    install(site, "folder", url={"url": "file:///srv/other", "dir_info": {}})
    install(site, "gone", url={"url": "file:///srv/gone-1.0-py3-none-any.whl", "archive_info": {}})
    install(site, "kept", url={"url": wheel.as_uri(), "archive_info": {}})
    install(site, "repository", url={"url": "https://user:s3cr3t@example.com/r.git", "vcs_info": {"vcs": "git"}})
    install(site, "sdist", url={"url": "https://example.com/sdist-1.0.tar.gz", "archive_info": {}})
    install(site, "web", url={"url": "https://example.com/web-1.0-py3-none-any.whl", "archive_info": {}})
    install(site, "conda", url={"url": "file:///conda/feedstock_root/build"}, by="conda")
    found, findings = read_environment((), [str(site)])
    assert {finding.path: finding.code for finding in findings} == {
        "packages.editable": "editable",
        "packages.folder": "local-path",
        "packages.gone": "local-path",
        "packages.repository": "unbuilt",
        "packages.sdist": "unbuilt",
    }
    assert all("--exclude" in finding.hint for finding in findings)
    assert "s3cr3t" not in str([str(finding) for finding in findings])
    assert {each.name: each.requirement for each in found} == {
        "conda": "conda==1.0",
        "kept": f"kept @ {wheel.as_uri()}",
        "web": "web @ https://example.com/web-1.0-py3-none-any.whl",
    }


def test_what_is_there_for_the_image_resolves_exactly() -> None:
    wanted, findings = resolve([Installed("cronsim", "2.6", "cronsim==2.6")], "3.11", Platform(), musl=False)
    assert findings == []
    assert wanted[0] == "cronsim==2.6"
    assert wanted[1].startswith("pip==")


def test_each_package_that_is_not_there_is_told() -> None:
    packages = [
        Installed("cronsim", "2.6", "cronsim==2.6"),
        Installed("cronsim-of-conda", "1.0", "cronsim-of-conda==1.0", conda=True),
        Installed("pyyaml", "0.0.99", "pyyaml==0.0.99"),
    ]
    wanted, findings = resolve(packages, "3.11", Platform(), musl=False)
    assert wanted == []
    assert {finding.path: finding.code for finding in findings} == {
        "packages.cronsim-of-conda": "conda-only",
        "packages.pyyaml": "not-found",
    }


def test_platforms() -> None:
    assert uv_platform(Platform.parse("linux/arm64"), musl=True) == "aarch64-unknown-linux-musl"
    for text in ("windows/amd64", "linux/s390x"):
        with pytest.raises(InvalidInput):
            uv_platform(Platform.parse(text), musl=False)
    assert normal("A__b.-C") == "a-b-c"
