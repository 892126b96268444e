"""What somebody sees when a command cannot do what it was asked: words and a next step, never our traceback."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from mlplatform import __version__
from mlplatform.cli.options import print_json, write
from mlplatform.cli.style import Style, clean, clean_lines
from mlplatform.core.errors import InternalError, MlPlatformError
from mlplatform.engine.home import open_home
from mlplatform.sdk.report import refusal

#: Findings shown on a screen; JSON has all of them.
_SHOWN = 20


def tell(error: MlPlatformError, *, as_json: bool) -> int:
    """Show an error; returns the exit status."""
    if as_json:
        print_json(refusal(error))
        for note in getattr(error, "__notes__", ()):
            write(clean_lines(note), error=True)
    else:
        write(words(error, Style.of(sys.stderr)), error=True)
    return error.exit_status


def words(error: MlPlatformError, style: Style) -> str:
    """An error on a screen: the user's own traceback if there is one, what happened, every finding, what to do."""
    lines = [clean_lines(note) + "\n" for note in getattr(error, "__notes__", ())]
    lines.append(f"{style.paint('error:', 'red', 'bold')} {clean_lines(_sentence(error.message))}")
    for finding in error.findings[:_SHOWN]:
        place = f"{style.paint(clean(finding.path), 'bold')}: " if finding.path else ""
        lines.append(f"  {style.glyph('FAILED')} {place}{clean(finding.message)}")
        if finding.hint:
            lines.append(f"    {style.paint(clean(finding.hint), 'dim')}")
    if len(error.findings) > _SHOWN:
        lines.append(f"  ... and {len(error.findings) - _SHOWN} more: --output json lists all")
    if error.hint:
        lines.append(clean_lines(error.hint))
    return "\n".join(lines)


def _sentence(message: str) -> str:
    """A message with a capital letter, unless it begins with a name."""
    first = message.partition(" ")[0]
    named = not first.isalpha() or not first.islower() or first == "mlplatform"
    return message if named else message[:1].upper() + message[1:]


def crash(error: BaseException, arguments: Sequence[str]) -> MlPlatformError:
    """Keep the details of a bug of ours in a file; returns the error to show."""
    text = "".join(traceback.format_exception(error))
    report = {
        "version": __version__,
        "python": sys.version,
        "platform": sys.platform,
        # Values may be private: only the shape of the command is kept.
        "command": [word if word.startswith("-") and "=" not in word else "..." for word in arguments],
        "error": type(error).__name__,
    }
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09}.txt"
    place = _write(name, json.dumps(report, indent=2) + "\n\n" + text)
    return InternalError(
        f"mlplatform itself failed: {type(error).__name__}.",
        hint=f"This is a bug of mlplatform, not of your pipeline. Please report it with {place}.",
    )


def _write(name: str, text: str) -> Path:
    """Where the report was written: the home's logs if that works, else the temporary folder."""
    for folder in (open_home().root / "logs", Path(tempfile.gettempdir())):
        try:
            if folder.is_dir():
                descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(text)
                return folder / name
        except OSError:
            continue
    return Path(os.devnull)
