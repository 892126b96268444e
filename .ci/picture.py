"""Draw ``docs/demo.svg`` from a real run of ``mlplatform demo`` in a terminal of its own.

    python .ci/picture.py [COLUMNS]        run it in an environment where the demo works; warm looks best

Every line in the picture was printed by that run. Nothing is loaded from elsewhere when it is shown.
"""

from __future__ import annotations

import os
import pty
import re
import sys
import tempfile
from html import escape
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent

FRAME = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>mlplatform demo</title>
<style>text {{ font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre; }}</style>
<rect width="{width}" height="{height}" rx="8" fill="#1b1d23"/>
<circle cx="18" cy="16" r="5" fill="#ff5f57"/><circle cx="36" cy="16" r="5" fill="#febc2e"/>
<circle cx="54" cy="16" r="5" fill="#28c840"/>
{lines}
</svg>
"""
CELL, LINE = 7.83, 17


def printed(columns: int) -> str:
    """What the demo leaves on a terminal that is ``columns`` wide."""
    os.environ.update({"COLUMNS": str(columns), "LINES": "50", "TERM": "xterm-256color", "MLPLATFORM_NO_LINKS": "1"})
    os.environ["MLPLATFORM_HOME"] = tempfile.mkdtemp(prefix="demo-")
    chunks: list[bytes] = []

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 4096)
        chunks.append(data)
        return data

    status = pty.spawn([str(Path(sys.executable).with_name("mlplatform")), "demo"], read)
    if status:
        sys.exit(f"the demo ended with status {status}")
    return b"".join(chunks).decode("utf-8", "replace")


def final_screen(raw: str) -> list[str]:
    """Lines as they stand at the end: cursor movements of the live display applied, colours kept."""
    lines: list[str] = [""]
    row = 0
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)", raw):
        if part == "\n":
            row += 1
            while len(lines) <= row:
                lines.append("")
        elif part == "\r":
            pass
        elif match := re.fullmatch(r"\x1b\[(\d*)([A-Za-z])", part):
            count = int(match[1] or 1)
            if match[2] == "A":
                row = max(0, row - count)
            elif match[2] == "K":
                lines[row] = ""
            elif match[2] == "m":
                lines[row] += part
        elif (part.startswith("\x1b[") and part.endswith("m")) or not part.startswith("\x1b["):
            lines[row] += part
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def drawn(lines: list[str], columns: int) -> str:
    console = Console(width=columns, record=True, file=open(os.devnull, "w"), color_system="truecolor")  # noqa: SIM115
    body: list[str] = []
    for number, line in enumerate(lines):
        text = Text.from_ansi(line)
        column = 0
        for segment in text.render(console):
            color = segment.style.color if segment.style else None
            fill = color.get_truecolor(MONOKAI).hex if color and not color.is_default else "#d8dee9"
            weight = ' font-weight="bold"' if segment.style and segment.style.bold else ""
            for words in re.finditer(r"\S+(?: \S+)*", segment.text):  # placed one by one: viewers may fold spaces
                x, y = 16 + (column + words.start()) * CELL, 48 + number * LINE
                wide = f'textLength="{len(words.group()) * CELL:.1f}" lengthAdjust="spacingAndGlyphs"'  # in any font
                body.append(f'<text x="{x:.1f}" y="{y}" fill="{fill}"{weight} {wide}>{escape(words.group())}</text>')
            column += len(segment.text.replace("\n", ""))
    width, height = int(32 + columns * CELL), 64 + len(lines) * LINE
    return FRAME.format(width=width, height=height, lines="\n".join(body))


def main() -> None:
    columns = int(sys.argv[1]) if len(sys.argv) > 1 else 110
    lines = ["\x1b[1m$ mlplatform demo\x1b[0m", *final_screen(printed(columns))]
    (ROOT / "docs" / "demo.svg").write_text(drawn(lines, columns), encoding="utf-8")


if __name__ == "__main__":
    main()
