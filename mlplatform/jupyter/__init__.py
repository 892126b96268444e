"""What JupyterLab gets: magics, the panel's extension, the server extension behind it."""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, str]]:  # pyright: ignore[reportUnusedFunction]
    """Where jupyter_server finds us; ``etc/jupyter/jupyter_server_config.d`` of this package switches us on."""
    return [{"module": "mlplatform.jupyter"}]


def _load_jupyter_server_extension(server_app: Any) -> None:  # pyright: ignore[reportUnusedFunction]
    from mlplatform.jupyter.handlers import install

    install(server_app)


def _jupyter_labextension_paths() -> list[dict[str, str]]:  # pyright: ignore[reportUnusedFunction]
    """For ``jupyter labextension develop``."""
    return [{"src": "labextension", "dest": "mlplatform"}]
