"""The scripts that measure the suite's environments run, on very little."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script: str, *args: str) -> list[str]:
    command = [sys.executable, str(BENCHMARKS / script), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_throughput_names_every_environment_and_the_smallest_ratio() -> None:
    lines = run("environments.py", "--copies", "4", "--seconds", "0.01")
    assert [line.split(":")[0] for line in lines[:-1]] == [
        "CartPole-v1",
        "Acrobot-v1",
        "MountainCar-v0",
        "fdrl/Conflict-v0",
        "fdrl/PixelGrid-v0",
        "fdrl/SpectrumAccess-v0",
        "fdrl/DroneCorridor-v0",
    ]
    assert "ratio" in lines[-1]


@pytest.mark.slow
def test_scores_of_random_actions_and_of_policies_by_hand() -> None:
    pytest.importorskip("Box2D")
    lines = run("env_scores.py", "--episodes", "2")
    assert len(lines) == 11
    (line,) = [line for line in lines if line.startswith("MountainCar-v0")]
    assert line.startswith("MountainCar-v0: random -200.00, by hand -1")


@pytest.mark.slow
def test_throughput_against_gymnasiums_own_vector() -> None:
    lines = run("environments.py", "--copies", "2", "--seconds", "0.01", "--against", "sync")
    assert len(lines) == 6
