"""The operator of TrainingJobs by itself: what it is composed of.

The platform's Deployment runs all controllers in one process (``mlplatform operator``); this one is for development
(``python operators/trainingjob/operator.py --context kind-dev --port -1``) and for clusters that want it alone
(``overlays/trainingjob``, which says the same as ``mlplatform operator --only trainingjob``).
"""

from __future__ import annotations

import sys

from mlplatform.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["operator", "--only", "trainingjob", *sys.argv[1:]]))
