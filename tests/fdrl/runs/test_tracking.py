"""Trackers: TensorBoard's files say what the records say, under Stable-Baselines3's names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_federation import STEPS, FakeFederation
from messages import fails

from fdrl.config.run import make_run
from fdrl.core.errors import FdrlError
from fdrl.core.records import RoundRecord
from fdrl.runs import train as train_module
from fdrl.runs.folder import read_records, read_summary
from fdrl.runs.tracking import TensorBoard, scalars
from fdrl.runs.train import train

RUN = make_run(agents=2, steps=4 * STEPS, tensorboard=True)


@pytest.fixture(autouse=True)
def _no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_module, "draw_curves", lambda folder: None)


def read_events(folder: Path) -> dict[str, dict[int, float]]:
    """Return {tag: {step: value}} of one TensorBoard folder, read as TensorBoard does."""
    accumulator: Any = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator(str(folder))
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    return {tag: {e.step: e.value for e in accumulator.Scalars(tag)} for tag in tags}


def test_scalars_use_the_usual_names() -> None:
    federation = FakeFederation(RUN)
    federation.round()
    named = scalars(federation.round())
    assert named["time/total_timesteps"] == 2 * 2 * STEPS
    assert named["time/fps"] == 12_000
    assert named["comm/bytes_up"] == 200
    assert named["train/loss"] == 0.5
    assert named["rollout/ep_len_mean"] == 20
    assert "rollout/ep_rew_mean" in named
    assert "time/simulated" not in named


def test_simulated_seconds_are_logged_if_a_channel_has_any() -> None:
    record = msgspec.structs.replace(FakeFederation(RUN).round(), sim_seconds=2.5)
    assert scalars(record)["time/simulated"] == 2.5


def test_tensorboard_files_hold_the_records(tmp_path: Path) -> None:
    train(RUN, out=tmp_path / "a", federation=FakeFederation)
    records = read_records(tmp_path / "a")
    summary = read_summary(tmp_path / "a")
    assert summary is not None
    whole = read_events(tmp_path / "a" / "tensorboard" / "federation")
    steps = [n * STEPS for n in range(1, 5)]
    assert list(whole["rollout/ep_rew_mean"]) == steps
    expected = [r.return_mean for r in records]
    assert list(whole["rollout/ep_rew_mean"].values()) == pytest.approx(expected, rel=1e-6)
    assert list(whole["comm/bytes_down"].values()) == [120, 240, 360, 480]
    assert whole["eval/final_mean"] == {4 * STEPS: pytest.approx(summary.return_mean, rel=1e-6)}
    agent = read_events(tmp_path / "a" / "tensorboard" / "agent-00")
    # agent 0 ended no episode in round 1
    assert list(agent["rollout/ep_rew_mean"]) == steps[1:]
    assert agent["rollout/episodes"] == dict(zip(steps, [3, 6, 9, 12], strict=True))


def test_a_resumed_run_replaces_the_points_it_repeats(tmp_path: Path) -> None:
    class Stop:
        def start(self, *args: Any) -> None: ...
        def round(self, record: Any) -> None:
            if record.round == 3:
                raise RuntimeError("gone")

        def finish(self, summary: Any) -> None: ...
        def close(self) -> None: ...

    with pytest.raises(RuntimeError, match="gone"):
        train(RUN, out=tmp_path / "a", trackers=[Stop()], federation=FakeFederation)
    train(RUN, out=tmp_path / "a", resume=True, federation=FakeFederation)
    whole = read_events(tmp_path / "a" / "tensorboard" / "federation")
    assert list(whole["rollout/ep_rew_mean"]) == [n * STEPS for n in range(1, 5)]


def test_a_number_too_large_for_a_float_is_infinity(tmp_path: Path) -> None:
    tracker = TensorBoard(tmp_path)
    tracker.start(RUN, [], [])
    tracker.round(
        RoundRecord(
            round=1, env_steps=[1], episodes=[0], returns=[None], return_mean=None, bytes_up=0.0,
            bytes_down=0.0, exchanged=True, metrics={"train/huge": 1e300, "train/low": -1e300},
        )
    )  # fmt: skip
    tracker.close()
    back = read_events(tmp_path / "federation")
    assert (back["train/huge"], back["train/low"]) == ({1: float("inf")}, {1: float("-inf")})


def test_without_tensorboard_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [m for m in sys.modules if m.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(FdrlError, match=r'pip install "fdrl\[tensorboard\]"'):
        train(RUN, out=tmp_path / "a", federation=FakeFederation)
    assert not (tmp_path / "a").exists()


def test_tensorboard_needs_a_folder() -> None:
    with fails(FdrlError, "tensorboard", "out="):
        train(RUN, federation=FakeFederation)
