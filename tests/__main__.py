"""``python -m tests [words for pytest]``: the whole suite, in two halves side by side (``make test``).

One process where the machine has one processor, where the words name files or folders, or with MLPLATFORM_TEST_SIDES=1.
The second half's output comes after the first's, then the summary of both as the last line.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from tests.support.sides import SIDES, VARIABLE, exit_code, summary, together

ROOT = Path(__file__).resolve().parent.parent


def _whole(words: list[str]) -> bool:
    """Whether the words ask for the whole suite, on a machine that can do two things at once."""
    named = any(not word.startswith("-") and Path(word.partition("::")[0]).exists() for word in words)
    return not named and (os.cpu_count() or 1) > 1 and os.environ.get("MLPLATFORM_TEST_SIDES", "2") != "1"


def _start(side: str, words: list[str], out: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", *words]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {VARIABLE: side}, stdout=out, stderr=subprocess.STDOUT)


def _both(words: list[str]) -> int:
    began = time.monotonic()
    with tempfile.TemporaryFile() as first, tempfile.TemporaryFile() as second:
        kept = (first, second)
        running = [_start(side, words, file.fileno()) for side, file in zip(SIDES, kept, strict=True)]

        def pass_on(number: int, _: FrameType | None) -> None:
            for one in running:
                with contextlib.suppress(ProcessLookupError):
                    one.send_signal(number)

        signal.signal(signal.SIGTERM, pass_on)
        signal.signal(signal.SIGINT, lambda *_: None)  # the terminal tells the halves itself
        counts: Counter[str] = Counter()
        for side, one, file in zip(SIDES, running, kept, strict=True):
            print(f"-- half {side} of {len(SIDES)}", flush=True)
            _follow(one, file.fileno())
            file.seek(0)
            found = summary(file.read().decode(errors="replace").splitlines()[-20:])
            counts.update(found[0] if found else Counter({"error": 1}))
        print(together(counts, time.monotonic() - began), flush=True)
        return exit_code(one.returncode for one in running)


def _follow(one: subprocess.Popen[bytes], file: int) -> None:
    """What a half says, as it says it, until it has ended."""
    at = 0
    while True:
        over = one.poll() is not None
        while part := os.pread(file, 1 << 16, at):
            at += len(part)
            sys.stdout.buffer.write(part)
            sys.stdout.flush()
        if over:
            return
        time.sleep(0.2)


def main(words: list[str]) -> int:
    if not _whole(words):
        return subprocess.call([sys.executable, "-m", "pytest", *words], cwd=ROOT)
    return _both(words)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
