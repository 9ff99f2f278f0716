"""What must hold before any test is imported (one thread a process, Box2D's import); order."""

import contextlib
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from fdrl.core.threads import THREAD_VARIABLES

# Pools of threads spin: two of them on the cores of two test workers take ten times as long.
for _name in THREAD_VARIABLES:
    os.environ.setdefault(_name, "1")

# Below ``nohup`` a closed terminal is ignored, and so it would be by the runs that tests make.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# What a user's own runs are remembered by must not mix with that of whoever tests.
os.environ["FDRL_STATE"] = tempfile.mkdtemp(prefix="fdrl-state-")

# Box2D's import warns about its own bindings; where warnings are errors that crashes Python.
with warnings.catch_warnings(), contextlib.suppress(ImportError):
    warnings.simplefilter("ignore")
    import Box2D  # noqa: F401


LONG = (
    "test_cohorts_contract.py::test_continuous_policies[torch]",
    "test_cohort.py::test_ppo",
    "test_strategies_contract.py::test_registered_strategies_keep_the_rules[mix2fld]",
    "test_lossy_loop.py::test_every_strategy_survives_losses_in_both_directions[mixfld]",
    "test_loop.py::test_no_message_can_end_a_round[mixfld-down]",
    "test_loop.py::test_no_message_can_end_a_round[mixfld-up]",
    "test_loop.py::test_no_message_can_end_a_round[mix2fld-down]",
    "test_loop.py::test_every_strategy_takes_exactly_the_same_steps[mixfld]",
    "test_reinforce.py::test_it_learns_to_balance",
    "test_reinforce.py::test_the_checker_is_content[options2]",
    "test_gaussian.py::test_agents_do_not_depend_on_each_other",
    "test_stack.py::test_packed_equals_alone[frd by episodes, an update a step]",
    "test_stack.py::test_packed_equals_alone[ten reinforce networks]",
    "test_train.py::test_a_pack_resumes_with_its_members_at_different_rounds[frd]",
    "test_experiment.py::test_the_same_settings_give_the_same_files",
    "test_theory.py::test_theory_imports_neither_torch_nor_scipy",
    "test_write.py::test_tuning_runs_are_left_out_told_and_found_by_their_own_name",
    "test_bench.py::test_audit_and_report_of_packed_lossy_runs_with_a_goal_and_episodes",
    "test_bench.py::test_packs_give_the_numbers_of_cells_also_when_killed",
    "test_channel.py::test_the_table_holds_the_published_link_budget",
    "test_shards.py::test_a_killed_worker_is_started_again_to_the_bit",
)
"""The longest of the fast tests, each of which has a sibling that stays: they are slow ones too."""


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of whole programs first: they take longest, and nobody waits for the last."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.parent != here)
    for item in items:
        if item.nodeid.endswith(LONG):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def search_for_modules() -> Iterator[None]:
    """Forget the folders that a command has looked in: each costs every later import a look."""
    before = list(sys.meta_path)
    yield
    sys.meta_path[:] = before
