"""What the pages tell people to type works, as it stands there.

Of every page, the ``bash`` blocks run in order, in one fresh folder with one fresh home. A python block behind
``<!-- file: NAME -->`` becomes that file. A block behind ``<!-- not run: WHY -->`` is left out, one behind
``<!-- exits N -->`` must end so. Pages are built by mkdocs as well, with every warning an error.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- (?P<word>not run|file|exits):? ?(?P<rest>.*?) -->\n)?```(?P<language>\w+)\n(?P<body>.*?)```", re.DOTALL
)


@dataclass(frozen=True)
class Block:
    language: str
    body: str
    word: str
    rest: str


def blocks(page: Path) -> list[Block]:
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(m["language"], m["body"], m["word"] or "", m["rest"] or "") for m in found]


def runs(page: Path) -> bool:
    return any(b.language == "bash" and b.word != "not run" for b in blocks(page))


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if runs(p)], ids=lambda p: p.stem)
def test_what_a_page_says_works(page: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    if page.stem == "cache":  # goes on where "getting started" stopped
        for block in blocks(ROOT / "docs" / "getting-started.md"):
            if block.word == "file":
                (work / block.rest).write_text(block.body)
        (work / "prepare").write_text("mlplatform compile hello.py hello.yaml\n")
    env = {**os.environ, "MLPLATFORM_HOME": str(tmp_path / "home"), "NO_COLOR": "1"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    if (work / "prepare").exists():
        subprocess.run(["bash", "prepare"], cwd=work, env=env, check=True, capture_output=True)
    ran = 0
    for block in blocks(page):
        if block.word == "file":
            (work / block.rest).write_text(block.body)
        if block.language != "bash" or block.word == "not run":
            continue
        command = ["bash", "-euo", "pipefail", "-c", block.body]
        done = subprocess.run(
            command, cwd=work, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        wanted = int(block.rest) if block.word == "exits" else 0
        assert done.returncode == wanted, f"{block.body}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        ran += 1
    assert ran


def test_python_in_pages_is_python() -> None:
    for page in PAGES:
        for block in blocks(page):
            if block.language == "python":
                compile(block.body, str(page), "exec")


def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "getting-started" / "index.html").is_file()


def test_the_readme_names_only_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text) + re.findall(r'src="([^"]+)"', text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
