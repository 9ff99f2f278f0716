"""A picture of what an agent does: one episode as an animated GIF."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fdrl.config.run import Run
from fdrl.core.arrays import Array
from fdrl.core.errors import FdrlError
from fdrl.core.files import write_atomic
from fdrl.runs.metric_names import wording
from fdrl.vector.gym import draws, find_env, take_limit

WIDTH = 300
FRAMES = 400
MILLISECONDS = 40


def can_render() -> bool:
    """Return whether pygame, which Gymnasium draws with, is installed."""
    return importlib.util.find_spec("pygame") is not None


def can_film(run: Run) -> bool:
    """Return whether a run's environments can be drawn, here and now."""
    if not can_render() or wording(run).labels:
        return False
    own = run.agent_kwargs[:1]
    try:
        spec, given = take_limit(find_env(run.env), run.env_kwargs, own)
        return draws(spec, {**given, **(own[0] if own else {})})
    except FdrlError:
        return False


def episode_frames(
    env: Any, act: Callable[[Array], Any], seed: int, most: int = FRAMES
) -> tuple[list[Array], float]:
    """Play one episode of a Gymnasium environment; return frames [H, W, 3] and its return.

    Of a long episode every second, third, ... frame is kept, so at most `most` of them.
    """
    # Without these, pygame greets on stdout, and looks for a screen that a server lacks.
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    observation, _ = env.reset(seed=seed)
    frames, total, every, step, over = [], 0.0, 1, 0, False
    while not over:
        if step % every == 0:
            frames.append(np.asarray(env.render(), dtype=np.uint8))
        if len(frames) > most:
            frames, every = frames[::2], every * 2
        observation, reward, terminated, truncated, _ = env.step(act(observation))
        total, step, over = total + float(reward), step + 1, bool(terminated or truncated)
    return frames, total


def save_gif(path: Path, frames: list[Array], root: Path | None = None) -> None:
    """Write frames as an animated GIF, at most `WIDTH` pixels wide (`root`: see `write_atomic`)."""
    from PIL import Image

    pictures = [Image.fromarray(f) for f in frames]
    width, height = pictures[0].size
    if width > WIDTH:
        size = (WIDTH, round(height * WIDTH / width))
        pictures = [p.resize(size, Image.Resampling.BILINEAR) for p in pictures]
    # One palette for all frames: smaller, and no color flickers from frame to frame.
    palette = pictures[0].quantize(64)
    pictures = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, format="GIF", save_all=True, append_images=pictures[1:],
        duration=MILLISECONDS, loop=0, optimize=True,
    )  # fmt: skip
    write_atomic(path, buffer.getvalue(), root)


def record(
    env: Any, act: Callable[[Array], Any], seed: int, path: Path, root: Path | None = None
) -> float:
    """Record one episode to a GIF; return its return. `root` is the run folder that it is in."""
    if not can_render():
        raise FdrlError('videos are drawn with pygame: pip install "fdrl[video]"')
    try:
        frames, total = episode_frames(env, act, seed)
    finally:
        env.close()
    save_gif(path, frames, root)
    return total
