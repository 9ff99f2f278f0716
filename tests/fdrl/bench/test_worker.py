"""What a worker of a bench says of its cells; its process is tested by whole benches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_federation import FakeFederation
from messages import says

from fdrl.bench.worker import Reporter, play, tell
from fdrl.config.run import Run, make_run
from fdrl.core.errors import FdrlError
from fdrl.core.records import Summary
from fdrl.packs.train import Order
from fdrl.runs.folder import read_summary

TINY = {"type": "ppo", "hidden": [8], "n_envs": 2, "n_steps": 32, "batch_size": 16, "n_epochs": 1}


class Said(list[dict[str, Any]]):
    """Every event in order."""

    def __call__(self, event: str, **facts: Any) -> None:
        self.append({"event": event, **facts})

    def of(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self if one["event"] == event]


def tiny(seed: int, **fields: Any) -> Run:
    return make_run(
        agent=TINY, agents=2, steps=128, seed=seed, strategy="fd", evaluation={"episodes": 1},
        **fields,
    )  # fmt: skip


def summary() -> Summary:
    federation = FakeFederation(make_run(agents=2, steps=192))
    while not federation.done:
        federation.round()
    return federation.summary()


def test_each_cell_of_a_pack_is_told_by_its_own_number(tmp_path: Path) -> None:
    said = Said()
    orders = [Order(tiny(seed), tmp_path / str(seed), number=7 + seed) for seed in (0, 1)]
    play(orders, said)
    assert {one["cell"] for one in said} == {7, 8}
    for done in said.of("finished"):
        found = read_summary(tmp_path / str(done["cell"] - 7))
        assert found is not None
        assert (done["mean"], done["worst"]) == (found.return_mean, found.return_worst)
        assert done["seconds"] >= found.wall_seconds
    assert len(said.of("finished")) == 2
    assert all(0 < one["fraction"] <= 1 for one in said.of("round"))


def test_a_cell_that_cannot_be_built_says_why(tmp_path: Path) -> None:
    said = Said()
    play([Order(tiny(0, env="CartPle-v1"), tmp_path / "a", number=3)], said)
    (failed,) = said
    assert (failed["event"], failed["cell"], failed["trace"]) == ("failed", 3, "")
    says(failed["reason"], "'CartPle-v1'", nearest="CartPole-v1")
    assert not (tmp_path / "a").exists()


def test_how_a_cell_ended_is_one_event() -> None:
    said, whole = Said(), summary()
    tell(said, whole, 0.0)
    assert said.pop() == {
        "event": "finished", "seconds": whole.wall_seconds, "mean": whole.return_mean,
        "worst": whole.return_worst,
    }  # fmt: skip
    tell(said, msgspec.structs.replace(whole, return_worst=math.nan), 1e6)
    assert (said[-1]["seconds"], said.pop()["worst"]) == (1e6, None)
    tell(said, KeyboardInterrupt(), 1.0)
    assert said.pop() == {"event": "stopped"}
    tell(said, FdrlError("no shoes"), 1.0)
    assert said.pop() == {"event": "failed", "reason": "no shoes", "trace": ""}


def test_a_bug_is_told_in_one_line_with_its_trace() -> None:
    said = Said()
    try:
        raise ZeroDivisionError("one over none\nand more")
    except ZeroDivisionError as error:
        tell(said, error, 1.0)
    (failed,) = said
    assert failed["reason"] == "ZeroDivisionError: one over none"
    assert Path(__file__).name in failed["trace"]


def test_progress_is_told_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    run, said, now = make_run(agents=2, steps=192), Said(), [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    federation = FakeFederation(run)
    reporter = Reporter(said, run)
    for seconds in (100.0, 100.1, 100.3):
        now[0] = seconds
        reporter.round(federation.round())
    assert [one["fraction"] for one in said] == pytest.approx([1 / 3, 1])
