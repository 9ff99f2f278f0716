"""The benchmarks against SB3: their statistics by hand, PPO in lockstep, and small whole runs."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from messages import fails, says

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a benchmark as its own folder sees it."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    for library in ("OMP", "OPENBLAS", "MKL"):  # what the benchmarks set is taken back
        monkeypatch.setenv(f"{library}_NUM_THREADS", "1")
    return __import__(name)


def run(script: str, *args: str) -> str:
    """Run a benchmark as a user would; return what it prints."""
    command = [sys.executable, "-W", "error::RuntimeWarning", str(BENCHMARKS / script), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def stats(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("seedstats", monkeypatch)


def test_bins_hold_the_steps_up_to_their_end(stats: ModuleType) -> None:
    episodes = [(10, 1.0), (10, 3.0), (11, 5.0), (31, 8.0), (40, 10.0)]
    np.testing.assert_array_equal(stats.binned(episodes, 40, 4), [2, 5, 5, 9])


def test_bins_before_the_first_episode_are_unknown(stats: ModuleType) -> None:
    np.testing.assert_array_equal(stats.binned([(25, 7.0)], 40, 4), [np.nan, np.nan, 7, 7])


def test_students_interval(stats: ModuleType) -> None:
    # mean 2, standard deviation 1, t(2; 0.975) = 4.302653
    mean, low, high = stats.student(np.array([[1.0], [2.0], [3.0]]))
    half = 4.302653 / 3**0.5
    np.testing.assert_allclose([mean[0], low[0], high[0]], [2, 2 - half, 2 + half], rtol=1e-6)


def test_welchs_interval(stats: ModuleType) -> None:
    # equal variances 1 and sizes 3: four degrees of freedom, t = 2.776445, error sqrt(2 / 3)
    a, b = np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0])
    half = 2.776445 * (2 / 3) ** 0.5
    np.testing.assert_allclose(stats.welch(a, b), [-1, -1 - half, -1 + half], rtol=1e-6)


def test_welchs_interval_of_constants_is_their_difference(stats: ModuleType) -> None:
    assert stats.welch(np.full(3, 5.0), np.full(3, 2.0)) == (3, 3, 3)


def test_permutation_counts_the_splits_that_are_as_far_apart(stats: ModuleType) -> None:
    # of the six ways to halve 0, 1, 10, 11 two have this distance; the second bin says nothing
    a, b = np.array([[0.0, 5.0], [1.0, 5.0]]), np.array([[10.0, 5.0], [11.0, 5.0]])
    assert stats.permutation_p(a, b) == pytest.approx(1 / 3, abs=0.03)
    assert stats.permutation_p(np.ones((3, 2)), np.ones((3, 2))) == 1.0


def test_an_agent_has_solved_the_task_at_475_over_20_episodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = load("time_to_solve", monkeypatch)
    judge = module.Judge()
    assert not judge.hear([500.0] * 18)
    assert judge.hear([0.0, 500.0])  # the twentieth; one 0 among twenty leaves exactly 475
    assert judge.hear([0.0] * 20)  # once solved, always solved
    assert not module.Judge().hear([500.0] * 18 + [0.0, 499.0])


LOCKSTEP: list[tuple[str, dict[str, Any], int]] = [
    ("CartPole-v1", {"learning_rate": 1e-3, "lr_schedule": "linear"}, 4),
    # 256 steps a copy: from the second iteration on, episodes are cut off at 500 steps
    ("Acrobot-v1", {"n_envs": 4, "n_steps": 256, "n_epochs": 2, "ent_coef": 0.01}, 3),
]


@pytest.mark.parametrize(("env", "settings", "iterations"), LOCKSTEP)
def test_given_the_same_random_numbers_ppo_is_sb3s(
    env: str, settings: dict[str, Any], iterations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load("lockstep", monkeypatch)
    from fdrl.agents.ppo import PPO

    steps = 256 * 4 * iterations
    found = module.lockstep(env, PPO(**settings), iterations, steps)
    assert len(found) == iterations
    assert all(same for _, same in found)
    assert max(difference for difference, _ in found) < 1e-4


def test_lockstep_notices_another_discount(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("lockstep", monkeypatch)
    from fdrl.agents.ppo import PPO

    twin = module.twins.sb3_twin

    def odd(env: str, settings: PPO, seed: int) -> Any:
        agent = twin(env, settings, seed)
        agent.rollout_buffer.gamma = 0.98
        return agent

    monkeypatch.setattr(module.twins, "sb3_twin", odd)
    assert module.lockstep("CartPole-v1", PPO(), 1, 256)[0][0] > 1e-4


@pytest.mark.slow
def test_fidelity_prints_curves_and_intervals(tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    args = ("--env", "CartPole-v1", "--seeds", "2", "--steps", "2560", "--json", str(file))
    printed = run("fidelity.py", *args)
    for words in ("| 2,560 |", "mean return over training", "p-value", "episodes equal in 10"):
        assert words in printed
    found = json.loads(file.read_text())["CartPole-v1"]
    assert len(found["seeds"]["sb3"]["curves"]) == len(found["seeds"]["fdrl"]["curves"]) == 2
    low, high = found["area"]["difference"][1:]
    assert low < high


@pytest.mark.slow
def test_time_to_solve_says_what_was_not_solved(tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    printed = run("time_to_solve.py", "--seeds", "1", "--limit", "1024", "--json", str(file))
    assert "| fdrl 0 |" in printed
    assert "| SB3 0 |" in printed
    says(printed, "2 of 2", "1,024 steps")
    found = json.loads(file.read_text())
    assert found["ratio"]["cpu"] > 0
    assert sum(found["seeds"][0]["fdrl"]["parts"].values()) <= found["seeds"][0]["fdrl"]["wall"]


@pytest.mark.slow
def test_packing_prints_a_ratio_for_each_kind_of_federation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own runs, cut to 512 steps and three seeds."""
    module = load("packing", monkeypatch)
    compare = module.compare

    def small(name: str, run: Any, seeds: int, alone: int) -> Any:
        short = msgspec.structs.replace(run, steps=min(run.steps, 512))
        return compare(name, short, min(seeds, 3), min(alone, 1))

    monkeypatch.setattr(module, "compare", small)
    monkeypatch.setattr(sys, "argv", ["packing.py", "--quick"])
    module.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line[:3] for line in lines] == ["(a)", *["(b)"] * 4, "(c)", *["(d)"] * 3]
    assert all(line.endswith(" times") for line in lines)


def test_tables_are_a_reports_numbers(tmp_path: Path) -> None:
    from run_folders import write_run

    from fdrl.report.write import write

    for seed in range(6):
        for strategy, final in (("fd", 400.0 + seed), ("local", 100.0 + seed)):
            write_run(tmp_path / f"{strategy}-{seed}", strategy=strategy, seed=seed, final=final)
    write([tmp_path], tmp_path / "report")
    printed = run("tables.py", str(tmp_path / "report"))
    assert "| fd | 402.5 [" in printed  # the mean of the middle four of 400..405 less 0
    assert "| local | **+300.0 [" in printed
    assert "solved |\n" in printed
    sampled = run("tables.py", str(tmp_path / "report"), "--sampled").splitlines()
    assert next(line for line in sampled if line.startswith("| fd |")).endswith("| 397.5 |")


def test_episode_lengths_are_those_of_the_last_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("episode_lengths", monkeypatch)
    log = [SimpleNamespace(env_steps=[100 * r, 100 * r], episodes=[r, 2 * r]) for r in range(1, 9)]
    log[-1].episodes = [11, 13]  # after 6 and 12: 5 + 1 episodes in 200 + 200 steps
    monkeypatch.setattr(module, "read_records", lambda folder: log)
    assert module.last_quarter(Path()) == pytest.approx(400 / 6)
    del log[3:]
    with fails(SystemExit, "3 rounds"):
        module.last_quarter(Path())


def test_tables_need_a_report(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "tables.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    says(done.stderr, tmp_path)


def test_mixup_privacy_prints_a_row_a_lam() -> None:
    printed = run("mixup_privacy.py", "--seeds", "5", "--draws", "1").splitlines()
    assert printed[0].startswith("| lam |")
    rows = [[float(c) for c in line.strip("| ").split(" | ")] for line in printed[2:]]
    assert [r[0] for r in rows] == [0.05, 0.1, 0.2, 0.3, 0.4, 0.45, 0.499]
    assert all(a[1] < b[1] for a, b in pairwise(rows))


def test_changed_messages_raise_nothing_undocumented(monkeypatch: pytest.MonkeyPatch) -> None:
    out = load("mutations", monkeypatch).mutate(1_000, seed=5)
    assert out.undocumented == {}
    assert out.beyond <= 2**18
    assert out.kinds["accepted"] > 0
    assert out.kinds["refused"] > 500
