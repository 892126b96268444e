"""The behaviours of a training job that have nothing to do with pods, lived through by a cluster in memory and by real
processes of this machine at once: after each thing that happens, the two statuses are the same, field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.training_machine import Both
from tests.unit.controllers.trainingjob import test_behaviours as cluster_tests

#: By their numbers in the design. The others are about pods, claims, nodes, quota, or admission.
SHARED = [
    cluster_tests.test_01_created_suspended_it_has_no_pods,
    cluster_tests.test_02_unsuspended_it_is_resumed,
    cluster_tests.test_04_ranks_fail,
    cluster_tests.test_07_past_its_deadline_it_fails_and_its_pods_go,
    cluster_tests.test_08_suspended_past_its_deadline_it_goes_on_with_a_new_clock,
    cluster_tests.test_11_a_group_of_no_ranks_is_fine,
    cluster_tests.test_18_success_of_any_group_ends_the_others,
    cluster_tests.test_19_all_waits_for_all,
    cluster_tests.test_20_without_restarts_the_first_failure_fails,
    cluster_tests.test_21_restarts_reach_their_limit,
    cluster_tests.test_22_an_uncounted_restart_spares_the_budget,
    cluster_tests.test_27_it_waits_for_both_it_depends_on_also_after_suspension,
    cluster_tests.test_41_half_of_the_ranks_done_suspended_resumed_all_run,
    cluster_tests.test_42_one_rank_without_a_place_is_never_running,
]


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    world = Both(tmp_path)
    yield world
    world.clear()


@pytest.mark.parametrize("behaviour", SHARED, ids=lambda one: one.__name__.removeprefix("test_"))
def test_on_both(behaviour: Callable[[Any], None], both: Both) -> None:
    behaviour(both)
