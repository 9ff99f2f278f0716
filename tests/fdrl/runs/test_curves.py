"""Learning curves: the numbers behind the lines, and that a picture comes out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from fake_federation import STEPS, FakeFederation
from messages import fails

from fdrl.config.run import make_run
from fdrl.core.errors import FdrlError
from fdrl.core.records import RoundRecord
from fdrl.runs import curves
from fdrl.runs.folder import RunFolder
from fdrl.runs.train import train

NAN = float("nan")


def record(number: int, returns: list[float | None], sent: float) -> RoundRecord:
    return RoundRecord(
        round=number, env_steps=[10 * number, 20 * number], episodes=[0, 0], returns=returns,
        return_mean=None, bytes_up=sent, bytes_down=2 * sent, exchanged=True,
    )  # fmt: skip


def test_curve_carries_the_last_known_return_forward() -> None:
    made = curves.curve(
        "x", "E", [record(1, [None, 1.0], 0), record(2, [5.0, None], 1), record(3, [None, 3.0], 4)]
    )
    np.testing.assert_array_equal(made.returns, [[NAN, 1], [5, 1], [5, 3]])
    np.testing.assert_array_equal(made.steps, [[10, 20], [20, 40], [30, 60]])
    np.testing.assert_array_equal(made.bytes, [0, 3, 12])


def test_smooth_is_a_trailing_mean_that_skips_gaps() -> None:
    values = np.array([[NAN, 2.0], [4.0, 4.0], [8.0, 6.0], [0.0, 8.0]])
    expected = [[NAN, 2.0], [4.0, 3.0], [6.0, 5.0], [4.0, 7.0]]
    np.testing.assert_allclose(curves.smooth(values, 2), expected)
    np.testing.assert_array_equal(curves.smooth(values, 1), values)


def test_mean_over_agents_leaves_out_the_unknown() -> None:
    values = np.array([[NAN, 2.0], [NAN, NAN], [1.0, 3.0]])
    np.testing.assert_array_equal(curves.mean_over_agents(values), [2.0, NAN, 2.0])


def lines_of(axis: Any, width: float) -> list[Any]:
    return [line for line in axis.lines if line.get_linewidth() == width]


def test_two_panels_with_a_line_per_agent_and_the_threshold() -> None:
    records = [record(n, [float(n), 10.0 + n], 100.0 * n) for n in range(1, 6)]
    left, right = curves.figure([curves.curve("fd", "CartPole-v1", records)]).axes
    for axis in (left, right):
        assert len(lines_of(axis, 0.7)) == 2
        assert len(lines_of(axis, 2.4)) == 1
        assert any(list(line.get_ydata()) == [475.0, 475.0] for line in axis.lines)
    assert right.get_xscale() == "log"
    mean = lines_of(left, 2.4)[0]
    np.testing.assert_allclose(mean.get_xdata(), [15, 30, 45, 60, 75])
    np.testing.assert_allclose(mean.get_ydata(), [6, 7, 8, 9, 10])
    np.testing.assert_allclose(lines_of(right, 2.4)[0].get_xdata(), [0.3, 0.6, 0.9, 1.2, 1.5])


def test_a_channel_with_simulated_time_has_a_panel_of_seconds() -> None:
    records = [
        msgspec.structs.replace(record(n, [1.0 * n, 2.0], 100.0 * n), sim_seconds=0.5 * n)
        for n in range(1, 4)
    ]
    panels = curves.figure([curves.curve("fd", "CartPole-v1", records)]).axes
    assert [p.get_xlabel() for p in panels] == [
        "environment steps per agent", "kB sent and received per agent", "simulated seconds",
    ]  # fmt: skip
    np.testing.assert_allclose(lines_of(panels[2], 2.4)[0].get_xdata(), [0.5, 1.0, 1.5])
    silent = [msgspec.structs.replace(r, bytes_up=0.0, bytes_down=0.0) for r in records]
    _, right = curves.figure([curves.curve("local", "CartPole-v1", silent)]).axes
    assert right.get_xlabel() == "simulated seconds"
    assert right.get_xscale() == "linear"


def test_a_run_that_sends_nothing_has_no_panel_of_bytes() -> None:
    records = [record(n, [1.0, 2.0], 0.0) for n in range(1, 4)]
    (panel,) = curves.figure([curves.curve("local", "Unknown-v0", records)]).axes
    assert panel.get_xlabel() == "environment steps per agent"


def test_the_legend_lies_below_the_panels() -> None:
    records = [record(n, [1.0, 2.0], 5.0) for n in range(1, 4)]
    picture = curves.figure([curves.curve("fd", "CartPole-v1", records)])
    picture.canvas.draw()
    (legend,) = picture.legends
    top = legend.get_window_extent().y1
    assert all(top < axis.xaxis.label.get_window_extent().y0 for axis in picture.axes)
    left, right = (axis.xaxis.label.get_window_extent() for axis in picture.axes)
    assert left.y0 == pytest.approx(right.y0, abs=0.5)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1, 1000, [1, 10, 100, 1000]),
        (90, 2100, [100, 300, 1000]),
        (1, 10, [1, 3, 10]),
        (2, 5, [2, 3, 4, 5]),
        (7, 7, [7]),
    ],
)
def test_round_values_are_few_and_inside(low: float, high: float, expected: list[float]) -> None:
    np.testing.assert_allclose(curves.round_values(low, high), expected)


def test_runs_without_any_ended_episode_can_be_drawn(tmp_path: Path) -> None:
    records = [record(n, [None, None], 1.0) for n in range(1, 4)]
    picture = curves.figure([curves.curve("fd", "CartPole-v1", records)])
    assert [t.get_text() for t in picture.axes[1].texts] == ["no episode has ended"]
    picture.savefig(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_training_leaves_a_picture_without_pyplot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    train(make_run(agents=2, steps=3 * STEPS), out=tmp_path / "a", federation=FakeFederation)
    assert (tmp_path / "a" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "a" / "curves.svg").read_bytes()
    assert "matplotlib.pyplot" not in sys.modules


def test_several_runs_share_a_picture_if_they_share_an_environment(tmp_path: Path) -> None:
    for name, env in (("a", "CartPole-v1"), ("b", "CartPole-v1"), ("c", "Acrobot-v1")):
        with RunFolder.create(tmp_path / name, make_run(agents=2, env=env)) as folder:
            for n in range(1, 4):
                folder.log(record(n, [1.0, 2.0], 1.0))
    written = curves.draw([tmp_path / "a", tmp_path / "b"], tmp_path / "both")
    assert [p.name for p in written] == ["both.png", "both.svg"]
    assert all(p.stat().st_size > 1000 for p in written)
    with fails(FdrlError, "CartPole-v1", "Acrobot-v1"):
        curves.draw([tmp_path / "a", tmp_path / "c"], tmp_path / "both")


def test_a_run_without_a_round_has_nothing_to_draw(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "a", make_run()).close()
    with fails(FdrlError, tmp_path / "a", "round"):
        curves.draw([tmp_path / "a"], tmp_path / "x")


def test_a_picture_that_fails_does_not_cost_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise ValueError("no font")

    monkeypatch.setattr(curves, "figure", broken)
    with pytest.warns(UserWarning, match="no learning curves in .*: no font"):
        train(make_run(agents=2, steps=STEPS), out=tmp_path / "a", federation=FakeFederation)
    assert (tmp_path / "a" / "summary.json").exists()


def test_a_budget_of_episodes_is_the_axis(tmp_path: Path) -> None:
    agent = {"type": "reinforce", "hidden": (4,)}
    run = make_run(agents=1, episodes=3, agent=agent, strategy="local", evaluation={"episodes": 1})
    train(run, out=tmp_path / "run", curves=False)
    made = curves.read_curve(tmp_path / "run")
    assert made.steps.tolist() == [[1], [2], [3]]
    (axis,) = curves.figure([made]).axes
    assert axis.get_xlabel() == "episodes per agent"
