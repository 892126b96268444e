"""The operator of RecurringRuns by itself: what it is composed of (``mlplatform operator --only recurringrun``)."""

from __future__ import annotations

import sys

from mlplatform.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["operator", "--only", "recurringrun", *sys.argv[1:]]))
