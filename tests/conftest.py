"""Rules for the whole suite.

*Strict mode* (``CI=true``): a skipped test is a failed test, since a suite that skips what it cannot do is green
and says nothing. A test that may rightly skip on the CI machine says so: ``@pytest.mark.cannot_run_here("why")``;
docs/development.md tells when that is right.

No test touches the user's own home folder: ``MLPLATFORM_HOME`` points into a temporary one for the whole session.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.cluster.fixtures import api_server, cluster, collection_order, namespace, place
from tests.support.sides import VARIABLE, side_of

__all__ = ["api_server", "cluster", "namespace"]

#: Which half of the suite this process runs. A pytest that a test starts runs all that it is asked for.
SIDE = os.environ.pop(VARIABLE, "")
STRICT = os.environ.get("CI", "").lower() in ("1", "true", "yes")
ROOT = Path(__file__).resolve().parent.parent

# Examples are the same in CI every time, new ones elsewhere; none fails for being slow on a busy machine.
settings.register_profile("house", deadline=None, derandomize=STRICT, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    home = tempfile.mkdtemp(prefix="mlp-")
    os.environ["MLPLATFORM_HOME"] = home
    # A home whose tasks log nothing needs no MLflow server while it is tested: each would cost ten seconds of a core.
    os.environ.setdefault("MLPLATFORM_TRACKING_LAZY_SECONDS", "3600")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SIDE:
        here = ROOT / "tests"
        items[:] = [one for one in items if side_of(one.path.relative_to(here), on_a_cluster=place(one) > 0) == SIDE]
    collection_order(items)


def _fail_instead(report: Any) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{reason}\n(CI=true: a skip is a failure; see tests/conftest.py)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if STRICT and report.skipped and not hasattr(report, "wasxfail") and not item.get_closest_marker("cannot_run_here"):
        _fail_instead(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    report = yield
    if STRICT and report.skipped:
        _fail_instead(report)
    return report


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT
