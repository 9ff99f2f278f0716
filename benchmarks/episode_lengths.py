"""Print how long training episodes last in the last quarter of a run's rounds.

    python benchmarks/episode_lengths.py runs/headline/lander-identical/fdv

One line a run folder below those named: steps per episode, the mean over all agents.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fdrl.runs.folder import METRICS, read_records


def last_quarter(folder: Path) -> float:
    """Return the steps per episode of a run's last quarter; infinite if no episode ended."""
    records = read_records(folder)
    if len(records) < 4:
        raise SystemExit(f"{folder}: {len(records)} rounds have no last quarter")
    before, after = records[len(records) * 3 // 4 - 1], records[-1]
    episodes = sum(after.episodes) - sum(before.episodes)
    steps = sum(after.env_steps) - sum(before.env_steps)
    return steps / episodes if episodes else float("inf")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="run folders, or folders of such")
    for given in parser.parse_args().folders:
        for log in sorted(given.rglob(METRICS)):
            print(f"{log.parent}: {last_quarter(log.parent):,.0f} steps an episode")


if __name__ == "__main__":
    main()
