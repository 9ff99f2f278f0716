"""``fdrl eval``: the table says what the summary says, and videos show the agent's own policy."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.spaces import Box
from messages import says
from PIL import Image

from fdrl import cli
from fdrl.cli import eval
from fdrl.cli.eval import load, policy
from fdrl.config.run import make_run
from fdrl.core.errors import FdrlError
from fdrl.runs import train as train_module
from fdrl.runs import video
from fdrl.runs.folder import RunFolder, read_summary
from fdrl.runs.progress import human_return
from fdrl.runs.train import train

Capture = pytest.CaptureFixture[str]
RUN = make_run(
    agents=2, steps=128, agent={"type": "ppo", "n_envs": 2, "n_steps": 32, "hidden": [8]},
    proxy={"type": "sobol", "size": 8}, evaluation={"episodes": 3},
    hetero={"type": "dynamics", "level": 0.5},
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "a"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "draw_curves", lambda folder: None)
        train(RUN, out=path)
    return path


def evaluate(capsys: Capture, *argv: str) -> str:
    assert cli.main(["eval", *argv]) == 0
    return capsys.readouterr().out


def test_the_table_agrees_with_the_summary(folder: Path, capsys: Capture) -> None:
    summary = read_summary(folder)
    assert summary is not None
    text = evaluate(capsys, str(folder))
    says(text, "fdv", "CartPole-v1", "round 2", "greedy")
    says(text, "3 episodes", human_return(summary.return_mean))
    for agent, value in zip(("agent-00", "agent-01"), summary.returns, strict=True):
        (line,) = (x for x in text.splitlines() if x.startswith(agent))
        assert f" {human_return(value)} " in line
    sampled = evaluate(capsys, str(folder), "--stochastic")
    assert f"mean {human_return(summary.return_stochastic)}" in sampled
    unseen = evaluate(capsys, str(folder), "--held-out")
    assert f"mean {human_return(summary.return_held_out)}" in unseen
    # two agents at 0.5 and 1.5 times the length: five environments between them
    assert "learns in" not in unseen
    assert len(re.findall(r"^length 0\.", unseen, re.MULTILINE)) == 5


def test_one_agent_and_a_number_of_episodes(folder: Path, capsys: Capture) -> None:
    text = evaluate(capsys, str(folder), "--agent", "agent-01", "--episodes", "5")
    assert "agent-00" not in text
    assert "5 episodes each" in text
    assert evaluate(capsys, str(folder), "--agent", "1", "--episodes", "5") == text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--agent", "agent-1"], "no agent 'agent-1' in .*did you mean 'agent-0?1'"),
        (["--episodes", "0"], "a whole number of at least 1, got 0 .at --episodes"),
        (["more"], "unexpected argument 'more'"),
    ],
)
def test_mistakes_are_one_line(
    argv: list[str], message: str, folder: Path, capsys: Capture
) -> None:
    assert cli.main(["eval", str(folder), *argv]) == 2
    err = capsys.readouterr().err
    assert re.search(message, err)
    assert err.count("\n") == 1


def test_what_is_no_run_and_a_run_without_checkpoint(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["eval", str(tmp_path)]) == 2
    says(capsys.readouterr().err, tmp_path, "run folder")
    RunFolder.create(tmp_path / "b", RUN).close()
    assert cli.main(["eval", str(tmp_path / "b")]) == 2
    says(capsys.readouterr().err, f"fdrl train --resume {tmp_path / 'b'}")
    assert cli.main(["eval"]) == 2


def test_an_edited_config_is_refused(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(folder, tmp_path / "b")
    config = tmp_path / "b" / "config.toml"
    text = config.read_text()
    # what changes no number may change
    config.write_text(text.replace("threads = 1", "threads = 2"))
    assert "after round 2" in evaluate(capsys, str(tmp_path / "b"))
    config.write_text(text.replace("level = 0.5", "level = 0.25"))
    assert config.read_text() != text
    assert cli.main(["eval", str(tmp_path / "b")]) == 2
    err = capsys.readouterr().err
    says(err, "checkpoint", "config.toml")
    assert err.count("\n") == 1


def test_a_run_folder_after_video_is_the_run(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    filmed: list[Path] = []
    monkeypatch.setattr(eval, "_videos", lambda f, who, target, greedy: filmed.append(target))
    assert "after round 2" in evaluate(capsys, "--video", str(folder))
    evaluate(capsys, str(folder), "--video")
    evaluate(capsys, "--video", "films", str(folder))
    assert filmed == [folder / "video", folder / "video", Path("films")]
    assert cli.main(["eval", "--video"]) == 2
    says(capsys.readouterr().err, "fdrl eval RUN")


def test_a_policy_is_the_agents_own(folder: Path) -> None:
    federation, round = load(folder)
    assert round == 2
    cohort = federation.cohorts[0]
    states = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    probs = cohort.probs(states)
    for agent in range(2):
        greedy, sampled = (policy(federation, agent, greedy=g) for g in (True, False))
        assert [greedy(s) for s in states] == probs[agent].argmax(-1).tolist()
        draws = [sampled(states[0]) for _ in range(400)]
        share = np.mean([d == 1 for d in draws])
        assert share == pytest.approx(probs[agent, 0, 1], abs=0.1)
    federation.close()


def test_video_is_an_animated_gif(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("pygame")
    text = evaluate(capsys, str(folder), "--agent", "agent-01", "--video", str(tmp_path / "v"))
    path = tmp_path / "v" / "agent-01.gif"
    says(text, path, "agent-01", "return")
    total = float(text.rsplit("return ", 1)[1])
    with Image.open(path) as gif:
        # a frame a step, fewer only where nothing visible changed
        assert 2 <= gif.n_frames <= total  # type: ignore[attr-defined]
        assert gif.size[0] == video.WIDTH


def test_without_pygame_the_error_names_the_extra(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(video, "can_render", lambda: False)
    assert cli.main(["eval", str(folder), "--video", str(tmp_path / "v")]) == 2
    assert 'pip install "fdrl[video]"' in capsys.readouterr().err


def test_an_environment_that_draws_nothing_gets_its_table_and_one_line(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert video.can_film(RUN)
    # the class, as the entry is copied by Gymnasium only down to it
    monkeypatch.setitem(CartPoleEnv.metadata, "render_modes", ["human"])
    assert not video.can_film(RUN)
    assert cli.main(["eval", str(folder), "--video", str(tmp_path / "v")]) == 2
    out, err = capsys.readouterr()
    assert "3 episodes each" in out
    says(err, "fdrl: error:", "CartPole-v1", "rgb_array")
    assert not (tmp_path / "v").exists()


class Pixel:
    """An environment of 11 steps whose picture is its step."""

    observation_space = Box(0, 1, (1,))

    def reset(self, seed: int) -> tuple[np.ndarray, dict[str, int]]:
        self.step_now = 0
        return np.zeros(1), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, int]]:
        self.step_now += 1
        return np.zeros(1), float(action), self.step_now == 11, False, {}

    def render(self) -> np.ndarray:
        return np.full((4, 6, 3), self.step_now, np.uint8)


def test_long_episodes_are_thinned_evenly() -> None:
    frames, total = video.episode_frames(Pixel(), lambda _: 2, 0, most=4)
    assert total == 22.0
    assert [int(f[0, 0, 0]) for f in frames] == [0, 4, 8]
    frames, _ = video.episode_frames(Pixel(), lambda _: 2, 0)
    assert [int(f[0, 0, 0]) for f in frames] == list(range(11))


def test_an_unwritable_video_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FdrlError, match="cannot write"):
        video.save_gif(tmp_path / "file" / "x.gif", [np.zeros((4, 6, 3), np.uint8)])
