"""A picture of what an agent does: one episode as an animated GIF."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fdrl.config.run import Run
from fdrl.core.arrays import Array
from fdrl.core.errors import FdrlError, short
from fdrl.core.files import write_atomic
from fdrl.runs.metric_names import wording
from fdrl.vector import contract
from fdrl.vector.contract import RAISED, REAL
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
    env: Any, act: Callable[[Array], Any], seed: int, most: int = FRAMES, name: str = ""
) -> tuple[list[Array], float]:
    """Play one episode of a Gymnasium environment; return its frames, as drawn, and its return.

    Of a long episode every second, third, ... frame is kept, so at most `most` of them. What the
    environment raises, or returns against the rules, is an `FdrlError` that calls it by its `name`.
    """
    # Without these, pygame greets on stdout, and looks for a screen that a server lacks.
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    shape = env.observation_space.shape
    frames: list[Array] = []
    total, every, step, call = 0.0, 1, 0, "reset"
    try:
        observation, _ = contract.of_reset(env.reset(seed=seed))
        over = False
        while not over:
            if step % every == 0:
                call = "render"
                frames.append(_drawn(env.render()))
            if len(frames) > most:
                frames, every = frames[::2], every * 2
            action, call = act(contract.observation(observation, shape)), "step"
            observation, reward, ended, cut, _ = contract.of_step(env.step(action))
            over = contract.flag(ended, "terminated") | contract.flag(cut, "truncated")
            total, step = total + contract.number(reward), step + 1
    except RAISED as error:
        rule = None if call == "render" else contract.broken_below(env, call, error, seed)
        own = str(error) if isinstance(error, FdrlError) else None
        what = rule or own or f"{call}() raised {contract.said(error)}"
        raise FdrlError(f"environment {name!r}, step {step} of a filmed episode: {what}") from error
    return frames, total


# ---- From what render() gives to pictures: bytes [H, W, 3], all of one size ----


PICTURE = (
    'with render_mode="rgb_array" it must give a picture: an array [height, width, 3] of bytes'
)


def _drawn(frame: Any) -> Array:
    """Return a frame [H, W, C] as the environment drew it; raise for what is no picture."""
    if frame is None:
        raise FdrlError(f"render() gave None, but {PICTURE}")
    try:
        array = np.array(frame)  # a copy: the next frame may be drawn into the same array
    except Exception:
        raise FdrlError(f"render() gave {short(repr(frame), 60)}, but {PICTURE}") from None
    if array.dtype.kind not in REAL:
        raise FdrlError(f"render() gave {short(repr(frame), 60)}, but {PICTURE}")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise FdrlError(f"render() gave an array of shape {np.shape(frame)}, but {PICTURE}")
    return array.astype(np.float32) if array.dtype == np.float64 else array


def pictures(frames: Sequence[Array], name: str = "") -> tuple[list[Array], str]:
    """Return frames as bytes [H, W, 3], and a line about what was done to them, or "".

    Numbers from 0 to 1 are brightnesses, which is decided over all frames: of a picture in bytes
    that is dark, no byte may be above 1. An alpha channel is left out.
    """
    where, done = f"environment {name!r}: render() gave", []
    sizes = list(dict.fromkeys(frame.shape for frame in frames))
    if len(sizes) > 1:
        raise FdrlError(
            f"{where} pictures of shape {sizes[0]}, then of {sizes[1]}, but those of a film must "
            "be of one size"
        )
    low, high = min(f.min() for f in frames), max(f.max() for f in frames)
    if not (low >= 0 and high <= 255):
        raise FdrlError(f"{where} pictures with numbers from {low} to {high}, not 0 to 255")
    if frames[0].shape[2] == 4:
        frames = [frame[..., :3] for frame in frames]
        done.append("with an alpha channel, which is left out")
    kind = frames[0].dtype.kind
    if kind == "b" or (kind == "f" and high <= 1):
        frames = [np.rint(frame.astype(np.float32) * 255) for frame in frames]
        done.append("of brightnesses from 0 to 1, which are scaled to 0 to 255")
    drawn = [np.ascontiguousarray(np.broadcast_to(f, (*f.shape[:2], 3)), np.uint8) for f in frames]
    return drawn, f"{where} pictures {' and '.join(done)}" if done else ""


def save_gif(path: Path, frames: list[Array], root: Path | None = None) -> None:
    """Write frames as an animated GIF, at most `WIDTH` pixels wide (`root`: see `write_atomic`)."""
    from PIL import Image

    pictures = [Image.fromarray(f) for f in frames]
    width, height = pictures[0].size
    if width > WIDTH:
        size = (WIDTH, max(1, round(height * WIDTH / width)))
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
    env: Any,
    act: Callable[[Array], Any],
    seed: int,
    path: Path,
    name: str = "",
    root: Path | None = None,
) -> tuple[float, str]:
    """Record one episode to a GIF; return its return, and what is to say of its pictures.

    `root` is the run folder that it is in.
    """
    if not can_render():
        raise FdrlError('videos are drawn with pygame: pip install "fdrl[video]"')
    try:
        frames, total = episode_frames(env, act, seed, name=name)
    finally:
        contract.close(env, name)
    drawn, note = pictures(frames, name)
    save_gif(path, drawn, root)
    return total, note
