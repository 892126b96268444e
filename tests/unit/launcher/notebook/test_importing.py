"""Imports of earlier cells, done again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mlplatform.launcher.notebook.importing import import_again


def test_what_cells_imported_is_imported_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "imagained"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("value = 1\n")
    (package / "deep" / "__init__.py").write_text("")
    (package / "deep" / "patches.py").write_text("import imagained\nimagained.value += 1\n")
    (package / "never.py").write_text("raise RuntimeError\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    cells = [
        "x = 1",
        "try:\n    import imagained.missing\nexcept ImportError:\n    pass",
        "from imagained import value\nfrom imagained.deep import patches\nimport imagained.never",
        "def f():\n    import imagained.inside",
        "this is no Python import",
    ]
    try:
        import_again(cells, lambda text: text)
        found = sorted(name for name in sys.modules if name.startswith("imagained"))
        assert found == ["imagained", "imagained.deep", "imagained.deep.patches"]
        assert vars(sys.modules["imagained"])["value"] == 2
    finally:
        for name in [name for name in sys.modules if name.startswith("imagained")]:
            del sys.modules[name]
