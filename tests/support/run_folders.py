"""Run folders: written by hand, as a report reads them, and what one says that was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

import fdrl
from fdrl.config.run import to_toml
from fdrl.core.records import WALL_CLOCK
from fdrl.runs.folder import latest_checkpoint

ROUNDS = 20


def _json(value: Any) -> str:
    # as the run folder does: NaN becomes null
    return msgspec.json.encode(value).decode()


def write_run(
    folder: Path,
    strategy: str | dict[str, Any] = "fd",
    seed: int = 0,
    final: float = 400.0,
    *,
    sent: float = 1000.0,
    rounds: int = ROUNDS,
    finished: bool = True,
    steps: int = 2000,
    returns: list[float] | None = None,
    told: dict[str, Any] | None = None,
    seconds: float = 0.0,
    **fields: Any,
) -> Path:
    """Write a run whose training return rises linearly to `final`; `sent` bytes a round and way.

    `told` are more fields of its summary. Each round takes `seconds` of simulated time; with any,
    three uploads are lost.
    """
    run = fdrl.make_run(strategy=strategy, seed=seed, steps=steps, **{"agents": 2} | fields)
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(to_toml(run))
    lines = [
        _line(n, final, sent, steps) | ({"sim_seconds": n * seconds} if seconds else {})
        for n in range(1, rounds + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(_json(row) + "\n" for row in lines))
    if finished:
        summary = _summary(run, final, sent, steps, returns) | (told or {})
        if seconds:
            summary |= {"sim_seconds": rounds * seconds, "lost_up": 3, "lost_down": 0}
        (folder / "summary.json").write_text(_json(summary))
    return folder


def _line(n: int, final: float, sent: float, steps: int) -> dict[str, Any]:
    level = final * n / ROUNDS
    return {
        "round": n,
        "env_steps": [n * steps // ROUNDS] * 2,
        "episodes": [n, n],
        # the second agent ends no episode in the first round
        "returns": [level, None if n == 1 else level],
        "return_mean": level,
        "bytes_up": n * sent,
        "bytes_down": n * sent,
        "exchanged": True,
    }


def _summary(
    run: fdrl.Run, final: float, sent: float, steps: int, returns: list[float] | None
) -> dict[str, Any]:
    ends = returns or [final - 10, final + 10]
    return {
        "strategy": run.strategy_name,
        "env": run.env,
        "seed": run.seed,
        "agents": 2,
        "env_steps": steps,
        "return_mean": final,
        "return_worst": min(ends),
        "return_spread": 10.0,
        "return_stochastic": final - 5,
        "return_held_out": final - 20,
        "auc": final / 2,
        "bytes_up": ROUNDS * sent,
        "bytes_down": ROUNDS * sent,
        "rounds": ROUNDS,
        "exchanges": ROUNDS,
        "gradient_steps": 64.0,
        "server_env_steps": 0,
        "parameters": [100, 200],
        "returns": ends,
        "wall_seconds": 1.0,
        "steps_per_second": 4000.0,
        "config": "0" * 16,
        "versions": {"python": "3.11", "fdrl": "0.1.0"},
    }


GOOD = [480.0, 482.0, 484.0, 486.0, 488.0, 490.0, 492.0, 494.0]
"""Final returns of eight seeds: enough to call a method better."""


def write_many(folder: Path, finals: dict[str, Any], **fields: Any) -> Path:
    """Write a run for each strategy and seed, the seeds numbered from 0."""
    for strategy, values in finals.items():
        for seed, final in enumerate(values):
            write_run(folder / f"{strategy}-{seed}", strategy, seed, final, **fields)
    return folder


def what_it_says(folder: Path) -> tuple[Any, ...]:
    """Return everything a finished run left, but for the wall clock."""
    lines = [msgspec.json.decode(x) for x in (folder / "metrics.jsonl").read_bytes().splitlines()]
    summary = msgspec.json.decode((folder / "summary.json").read_bytes())
    for table in (*lines, summary):
        for name in WALL_CLOCK:
            table.pop(name, None)
    newest = latest_checkpoint(folder)
    assert newest is not None
    arrays = {k: v.tobytes() for k, v in newest.state.items() if k != "tally.seconds"}
    return lines, summary, arrays, (folder / "config.toml").read_bytes()
