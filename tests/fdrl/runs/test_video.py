"""What render() may give, and what becomes of it; what else goes wrong while an agent is filmed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from messages import fails, says

from fdrl.core.errors import FdrlError, Notice
from fdrl.runs import video

DARK = np.zeros((4, 6, 3), np.uint8)


class Filmed(zoo.Cart):
    """Gives `picture` whenever it is drawn."""

    def __init__(self, picture: Any = DARK) -> None:
        self.picture = picture

    def render(self) -> Any:
        if isinstance(self.picture, BaseException):
            raise self.picture
        return self.picture


def film(picture: Any) -> tuple[np.ndarray[Any, Any], str]:
    frames, total = video.episode_frames(Filmed(picture), lambda seen: 0, seed=3, name="my-env")
    assert total == 6.0
    drawn, note = video.pictures(frames, "my-env")
    assert len(drawn) == 6
    assert drawn[0].dtype == np.uint8
    return drawn[0], note


@pytest.mark.parametrize(
    ("picture", "value", "facts"),
    [
        (np.full((4, 6, 3), 7, np.uint8), 7, ()),
        (np.full((4, 6, 3), 7.0), 7, ()),
        (np.full((4, 6), 200, np.int64), 200, ()),
        (np.full((4, 6, 1), 200, np.uint8), 200, ()),
        ([[[1, 1, 1]] * 6] * 4, 1, ()),
        (np.full((4, 6, 4), 9, np.uint8), 9, ("alpha", "left out")),
        (np.full((4, 6, 3), 0.9), 230, ("0 to 1", "scaled")),
        (np.ones((4, 6, 3), np.bool_), 255, ("0 to 1", "scaled")),
    ],
)
def test_pictures_of_every_usual_kind_are_drawn(
    picture: Any, value: int, facts: tuple[str, ...]
) -> None:
    drawn, note = film(picture)
    assert drawn.shape == (4, 6, 3)
    assert (drawn == value).all()
    assert bool(note) == bool(facts)
    if facts:
        says(note, "'my-env'", "render()", *facts)


@pytest.mark.parametrize(
    ("picture", "facts"),
    [
        (None, ("None",)),
        ("a picture", ("'a picture'",)),
        ([DARK], ("(1, 4, 6, 3)",)),
        (np.zeros((3, 4, 6), np.uint8), ("(3, 4, 6)",)),
        (np.zeros((0, 6, 3), np.uint8), ("(0, 6, 3)",)),
        ([[1], [1, 2]], ("[[1], [1, 2]]",)),
        (np.full((4, 6, 3), 300.0), ("300.0", "255")),
        (np.full((4, 6, 3), -1), ("-1", "255")),
        (np.full((4, 6, 3), np.nan), ("nan",)),
        (RuntimeError("no display"), ("RuntimeError: no display", "test_video.py")),
        (SystemExit(), ("SystemExit", "test_video.py")),
    ],
)
def test_what_is_no_picture_is_one_line(picture: Any, facts: tuple[str, ...]) -> None:
    with fails(FdrlError, "'my-env'", "render()", *facts) as caught:
        film(picture)
    assert "\n" not in str(caught.value)


def test_pictures_of_a_film_have_one_size() -> None:
    with fails(FdrlError, "'my-env'", "render()", "(4, 6, 3)", "(5, 6, 3)"):
        video.pictures([DARK, np.zeros((5, 6, 3), np.uint8)], "my-env")


@pytest.mark.parametrize("kind", [zoo.OldStep, zoo.OldReset, zoo.NoReward, zoo.TextFlag, zoo.Exits])
def test_a_filmed_environment_is_held_to_its_contract(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "render", Filmed.render)
    monkeypatch.setattr(kind, "picture", DARK, raising=False)
    _, facts = zoo.CARTS[kind.__name__]
    with fails(FdrlError, "'my-env'", "filmed episode", *facts):
        video.episode_frames(kind(), lambda seen: 0, seed=3, name="my-env")


def test_a_film_is_kept_whatever_close_raises(tmp_path: Path) -> None:
    pytest.importorskip("pygame")
    env = Filmed(np.full((2, 2000, 3), 40, np.uint8))
    env.close = lambda: 1 / 0  # type: ignore[assignment]
    with pytest.warns(Notice, match=r"'my-env'.*close\(\).*ZeroDivisionError"):
        video.record(env, lambda seen: 0, 3, tmp_path / "a.gif", "my-env")
    assert (tmp_path / "a.gif").stat().st_size > 0
