"""``python -m mlplatform``: the command line."""

import sys

from mlplatform.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
