"""Part of the wheel's build (hatchling): the tracing library is compiled where a C compiler is, and left out where not.

A wheel that holds it is tagged for this platform, one without is pure; an editable install gets it beside its source.
Nothing imports this at run time, and ``hatchling`` need not be installed.
"""

from __future__ import annotations

import runpy
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_HERE = Path(__file__).resolve().parent


class TracingLibrary(BuildHookInterface[Any]):
    """hatchling finds this by the ``custom`` hook of pyproject.toml."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tell hatchling what was made. ``version`` is ``standard`` or ``editable``."""
        build = runpy.run_path(str(_HERE / "build.py"))["build"]
        if version == "editable":
            build(_HERE)
            return
        made = build(tempfile.mkdtemp(prefix="mlplatform-build-"))
        if made is None:
            self.app.display_warning("no C compiler: the wheel is pure, its cache watches files by Python's audit hook")
            return
        build_data["force_include"][str(made)] = f"mlplatform/launcher/native/{made.name}"
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")
