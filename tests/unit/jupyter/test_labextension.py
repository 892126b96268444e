"""What JupyterLab finds in the environment: the extension as it lies, and the server's switch."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

import mlplatform
from mlplatform import jupyter

ROOT = Path(__file__).resolve().parents[3]
EXTENSION = ROOT / "mlplatform" / "jupyter" / "labextension"


def test_package_says_what_is_to_be_loaded() -> None:
    told = json.loads((EXTENSION / "package.json").read_text())
    assert told["version"] == mlplatform.__version__
    assert (EXTENSION / told["jupyterlab"]["_build"]["load"]).is_file()
    entry = (EXTENSION / "static" / "remoteEntry.js").read_text()
    assert f'"{told["jupyterlab"]["_build"]["extension"]}"' in entry
    assert f"window._JUPYTERLAB.{told['name']} =" in entry


def test_modules_import_only_what_is_there() -> None:
    for script in (EXTENSION / "static").glob("*.js"):
        for name in re.findall(r"""from "\./([\w.]+)";""", script.read_text()):
            assert (EXTENSION / "static" / name).is_file(), f"{script.name} imports {name}"


def test_wheel_puts_both_where_jupyter_looks() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "shared-data"
    ]
    for source, place in data.items():
        assert (ROOT / source).exists()
        assert place.startswith(("share/jupyter/labextensions/mlplatform", "etc/jupyter/jupyter_server_config.d/"))
    config = json.loads((ROOT / "mlplatform" / "jupyter" / "config" / "mlplatform.json").read_text())
    (module,) = config["ServerApp"]["jpserver_extensions"]
    assert jupyter._jupyter_server_extension_points() == [{"module": module}]


def test_this_environment_has_them() -> None:
    prefix = Path(sys.prefix)
    if not (prefix / "share" / "jupyter" / "labextensions" / "mlplatform").exists() and prefix != ROOT / ".venv":
        pytest.skip("mlplatform is not installed into this environment")
    assert (prefix / "share" / "jupyter" / "labextensions" / "mlplatform" / "package.json").is_file()
    assert (prefix / "etc" / "jupyter" / "jupyter_server_config.d" / "mlplatform.json").is_file()


def test_the_server_extension_can_be_loaded() -> None:
    """A Jupyter server goes on without an extension that fails to load; this must not be found out in a browser."""
    from mlplatform.jupyter import handlers

    added: list[str] = []

    class App:
        settings = {"base_url": "/base/"}

        def add_handlers(self, _host: str, rules: list) -> None:
            added.extend(rule[0] for rule in rules)

    class Server:
        web_app = App()

        class log:
            @staticmethod
            def info(*_: object) -> None:
                pass

    handlers.install(Server())
    assert "/base/mlplatform/api/plan" in added
    assert "/base/mlplatform/ui/(.*)" in added
