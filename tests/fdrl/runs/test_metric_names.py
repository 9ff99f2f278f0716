"""Classification is spoken of in its own words: accuracy, examples; no episode, no film."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from messages import says
from rich.console import Console

from fdrl import cli
from fdrl.config.run import make_run
from fdrl.report.write import write
from fdrl.runs.curves import Curve, figure
from fdrl.runs.display import PlainLines, closing, closing_line, render
from fdrl.runs.folder import read_records, read_run, read_summary
from fdrl.runs.metric_names import wording
from fdrl.runs.progress import Progress
from fdrl.runs.train import train
from fdrl.runs.video import can_film

Capture = pytest.CaptureFixture[str]
DIGITS = make_run(
    env="fdrl/Digits-v0",
    agents=2,
    steps=256,
    agent={"type": "classifier", "hidden": [4], "samples": 30, "local_steps": 2},
    strategy="local",
    evaluation={"episodes": 2},
)
PLAYED = ("return", "episode", "action", "steps/s", "steps per agent", "video", "greedy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "digits"
    train(DIGITS, out=path)
    return path


def plain(text: str) -> str:
    """Return a screen without those names that hold a word by chance."""
    return text.lower()


def shown(width: int, *parts: object) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_screens_speak_of_accuracy_and_examples(folder: Path) -> None:
    run, records, summary = read_run(folder), read_records(folder), read_summary(folder)
    assert summary is not None
    progress = Progress(run, ("agent-00", "agent-01"), ("samples 1 2", "samples 3 4"))
    progress.recall(records)
    text = shown(100, render(progress, 100, 30), closing(summary, run, folder))
    text += closing_line(summary, folder)
    said = Console(file=io.StringIO(), width=100)
    lines = PlainLines(said, seconds=0.0)
    lines.start(run, ("agent-00", "agent-01"), ("a", "b"))
    lines.round(records[0])
    assert isinstance(said.file, io.StringIO)
    text += said.file.getvalue()
    assert "owns" in text
    assert "final accuracy" in text
    assert "examples/s" in text
    assert not [word for word in PLAYED if word in plain(text)]


def test_eval_gives_accuracies_and_films_nothing(folder: Path, capsys: Capture) -> None:
    assert cli.main(["eval", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "owns" in text
    assert "accuracy: mean" in text
    assert not [word for word in PLAYED if word in plain(text)]
    assert not can_film(DIGITS)
    assert cli.main(["eval", str(folder), "--video"]) == 2
    says(capsys.readouterr().err, "fdrl/Digits-v0", "film")


def test_a_report_on_classifiers_does_too(folder: Path, tmp_path: Path) -> None:
    page, _ = write([folder], tmp_path / "report")
    text = page.read_text().partition("<h2>Reproduce</h2>")[0].partition("</style>")[2]
    assert "final accuracy" in text
    assert "accuracy on test examples" in text
    says(text, "accuracy 0.9")
    assert "return" not in plain(text)
    assert "environment step" not in plain(text)


def test_other_environments_keep_their_words() -> None:
    names = wording(make_run())
    assert (names.value, names.steps, names.learns) == ("return", "steps", "learns in")
    assert names.while_training == "return of training episodes"


def curve(rounds: int, env: str = "CartPole-v1") -> Curve:
    x = np.arange(1.0, rounds + 1)
    return Curve("fd", env, x[:, None], x[:, None], 0 * x)


def test_a_figure_says_how_its_lines_are_averaged() -> None:
    titles = [ax.get_title(loc="right") for ax in figure([curve(80)]).axes]
    assert titles == ["each point: mean of the last 4 rounds"]
    both = [ax.get_title(loc="right") for ax in figure([curve(80), curve(20)]).axes]
    assert both == ["each point: mean of the last 1 to 4 rounds"]
    assert figure([curve(39)]).axes[0].get_title(loc="right") == ""
    assert figure([curve(9, "fdrl/Digits-v0")]).axes[0].get_ylabel() == "accuracy on test examples"
