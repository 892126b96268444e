"""``python -m mlplatform.artifacts.fetching URI TARGET``: copy one artifact to a local path.

For tasks (see ``launcher.remote``): a process of its own, with the task's environment. It says nothing when it worked;
else one line on standard error, without secrets of the URI, and exit status 1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mlplatform.artifacts.facade import Artifacts
from mlplatform.core.errors import MlPlatformError


def main(arguments: Sequence[str]) -> int:
    """Fetch; returns the exit status."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m mlplatform.artifacts.fetching URI TARGET\n")
        return 2
    uri, target = arguments
    try:
        Artifacts().fetch(uri, Path(target))
    except MlPlatformError as error:
        words = f"{error.message} ({error.hint.rstrip('.')})" if error.hint else error.message
        sys.stderr.write(words.replace("\n", " ") + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
