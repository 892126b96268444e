"""The lock follows from pyproject.toml and can be served by any index."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / ".ci" / "lock.txt").read_text(encoding="utf-8")


def test_the_lock_was_made_from_these_requirements() -> None:
    stated = runpy.run_path(str(ROOT / ".ci" / "lock_digest.py"))["digest"](ROOT / "pyproject.toml")
    assert f"# requirements {stated}\n" in LOCK, "pyproject.toml changed: run `make lock`"


def test_every_package_is_pinned_with_hashes() -> None:
    blocks = [block for block in re.split(r"\n(?=[a-z])", LOCK) if re.match(r"[a-z0-9]", block)]
    assert len(blocks) > 100
    for block in blocks:
        assert re.match(r"[a-z0-9._\[\],-]+==[^ ;]+( ; [^\\]+)? \\\n    --hash=sha256:[0-9a-f]{64}", block), block[:200]


def test_the_lock_names_no_address() -> None:
    assert "://" not in LOCK
    assert "index" not in LOCK


def test_kfp_resolves_with_what_it_wants() -> None:
    pins = dict(re.findall(r"^([a-z0-9._-]+)==([^ ]+)", LOCK, re.MULTILINE))
    assert pins["kfp"] == "2.17.0"
    assert int(pins["kubernetes"].split(".")[0]) < 31
    assert int(pins["protobuf"].split(".")[0]) < 7
