"""Real Gymnasium environments, stepped one after another into shared arrays."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.env import Step
from fdrl.core.errors import FdrlError, short, warn_once
from fdrl.core.registry import EnvSpec
from fdrl.core.seeding import pack_generators, unpack_generators
from fdrl.core.watch import PULSE
from fdrl.vector import contract
from fdrl.vector.contract import RAISED, REAL, EnvFault
from fdrl.vector.flatten import masks_of
from fdrl.vector.gym import GymEnv, longest, open_env


def seen_now(observations: Array) -> Array:
    """Return a checksum of each copy's observation [n]."""
    return np.array([zlib.crc32(row.tobytes()) for row in observations], np.int64)


def check_seen(name: str, now: Array, state: Mapping[str, Array]) -> None:
    """Say so if copies that have played their episodes again see something else than before."""
    begun = state["seeds"] >= 0
    before = state.get("seen")  # which older checkpoints do not have
    if before is not None and (now != before)[begun].any():
        warn_once(replayed(name))


def replayed(name: str) -> str:
    """Return what a user must know whose environment did not play its episodes again."""
    return (
        f"environment {name!r}: its episodes went differently when they were played again to "
        "resume, so this run goes on, but not to the bit; reset(seed=...) must fix all of its "
        "randomness"
    )


_LISTS = ("_labels", "_generators", "_envs", "_step_calls", "_seeds", "_played")
"""What a loop has one of per copy."""


class GymLoop:
    """n real environments with same-step autoreset (a `VectorEnv`).

    Every episode is reset with a seed of its own, drawn from the copy's stream, and the actions
    since are kept: a simulator that cannot be saved, such as Box2D's, is resumed to the bit by
    playing the episode again. `labels` [n] name the copies in errors. `kwargs` [n] are what each
    copy is given on top of `spec.kwargs`.

    With `once` a copy plays one episode after every `reset` and then rests: it takes no more steps,
    its observation stays, its reward is 0, and it does not finish again.
    """

    def __init__(
        self,
        spec: EnvSpec,
        kwargs: Sequence[Mapping[str, Any]],
        seeds: Sequence[np.random.SeedSequence],
        labels: Sequence[str],
        *,
        once: bool = False,
    ) -> None:
        self.count = len(kwargs)
        self._once = once
        self._name, self._labels = spec.name, list(labels)
        self._generators = [np.random.Generator(np.random.PCG64(s)) for s in seeds]
        self._envs: list[GymEnv] = []
        self._at = 0
        for self._at, given in enumerate(kwargs):
            PULSE.enter(self._present, "its constructor")
            self._envs.append(open_env(spec, given))
        PULSE.leave()
        self._most = longest(self._envs[0]) if once else 0
        self._masked = contract.note_masks(self._name, masks_of(self._envs[0]))
        self._step_calls = [env.step for env in self._envs]
        self._seeds = [-1] * self.count
        self._played: list[list[Any]] = [[] for _ in range(self.count)]
        first = self._envs[0]
        self._shape: tuple[int, ...] = first.observation_space.shape or ()
        self._actions = first.action_space
        self._check_spaces(first.observation_space, first.action_space)
        self._make_room()

    def _make_room(self) -> None:
        shape = (self.count, *self._shape)
        self._observations = np.zeros(shape, np.float32)
        self._next = np.zeros(shape, np.float32)
        self._rewards = np.zeros(self.count, np.float64)
        self._terminated = np.zeros(self.count, np.bool_)
        self._truncated = np.zeros(self.count, np.bool_)
        self._awake = list(range(self.count))

    def _check_spaces(self, observations: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
        for label, env in zip(self._labels, self._envs, strict=True):
            if env.observation_space.shape != observations.shape or env.action_space != actions:
                raise EnvFault(
                    "spaces",
                    f"environment {self._name!r}, {label}: its spaces {env.observation_space}, "
                    f"{env.action_space} differ from the first agent's {observations}, {actions}",
                )

    def reset(self) -> NDArray[np.float32]:
        """Start a new episode in every copy; return the observations [n, *O]."""
        self._awake = list(range(self.count))
        for i in self._awake:
            self._begin(i)
        return self._observations

    def step(self, actions: Array) -> Step:
        """Advance every copy by one action [n] or [n, D]; finished copies start again, or rest."""
        following, rewards = self._next, self._rewards
        terminated, truncated = self._terminated, self._truncated
        shape, array = self._shape, np.ndarray
        moves = self._moves(actions)
        # an environment may write into the array it is given
        kept = self._moves(actions) if isinstance(self._actions, spaces.Box) else moves
        if len(self._awake) < self.count:
            rewards[...] = 0.0
            terminated[...] = truncated[...] = False
        pulse = PULSE
        pulse.enter(self._present, "step")
        for i in self._awake:
            self._at = i
            pulse.beats += 1
            try:
                result = self._step_calls[i](moves[i])
            except RAISED as error:
                raise self._raised(i, "step", error) from error
            # What most worlds give is looked at here, for speed; `_read` looks at the rest.
            try:
                seen, reward, ended, cut, info = result
                if not (
                    type(seen) is array
                    and seen.shape == shape
                    and seen.dtype.kind in REAL
                    and isinstance(reward, float)
                    and type(ended) is bool
                    and type(cut) is bool
                    and type(info) is dict
                ):
                    seen, reward, ended, cut = self._read(result)
            except (EnvFault, TypeError, ValueError) as error:
                raise self._raised(i, "step", error, result) from error
            following[i], rewards[i], terminated[i], truncated[i] = seen, reward, ended, cut
            self._played[i].append(kept[i])
            if self._once and len(self._played[i]) > self._most:
                raise self._endless(i)
        pulse.leave()
        if not (np.isfinite(following).all() and np.isfinite(rewards).all()):
            self._name_the_infinite()
        np.copyto(self._observations, following)
        finished = terminated | truncated
        if finished.any():
            np.greater(truncated, terminated, out=truncated)
            if self._once:
                self._awake = [i for i in self._awake if not finished[i]]
            else:
                for i in np.flatnonzero(finished).tolist():
                    self._begin(i)
        return Step(self._observations, following, rewards, terminated, truncated)

    def _moves(self, actions: Array) -> list[Any]:
        """Return what each copy is given: whole numbers, or arrays [D] of its own."""
        if isinstance(self._actions, spaces.Box):
            return list(np.array(actions, dtype=self._actions.dtype))
        return (np.asarray(actions) + int(getattr(self._actions, "start", 0))).tolist()  # type: ignore[no-any-return]

    def _begin(self, i: int) -> None:
        self._restart(i, int(self._generators[i].integers(2**31 - 1)))

    def _restart(self, i: int, seed: int) -> None:
        self._seeds[i] = seed
        self._played[i] = []
        self._at = i
        PULSE.enter(self._present, "reset")
        try:
            seen, info = contract.of_reset(self._envs[i].reset(seed=seed))
            self._observations[i] = contract.observation(seen, self._shape)
        except RAISED as error:
            raise self._raised(i, "reset", error) from error
        PULSE.leave()
        self._masked |= contract.note_masks(self._name, info)
        if not np.isfinite(self._observations[i]).all():
            raise EnvFault("finite", f"{self._where(i)}: reset gave the observation {short(seen)}")

    def _read(self, result: Any) -> tuple[NDArray[Any], float, bool, bool]:
        """Return observation, reward, terminated and truncated of a step, each checked."""
        seen, reward, ended, cut, _ = contract.of_step(result)
        return (
            contract.observation(seen, self._shape),
            contract.number(reward),
            contract.flag(ended, "terminated"),
            contract.flag(cut, "truncated"),
        )

    def _present(self) -> str:
        """Name the copy that is being called."""
        return f"environment {self._name!r} of {self._labels[self._at]}"

    def _where(self, i: int) -> str:
        return (
            f"environment {self._name!r}, {self._labels[i]}, step {len(self._played[i])} of the "
            f"episode with seed {self._seeds[i]}"
        )

    def _raised(
        self, i: int, call: Literal["reset", "step"], error: BaseException, result: Any = None
    ) -> EnvFault:
        """Return what to raise for an error of a call, or of reading its `result`."""
        if result is not None:
            try:  # an error of the fast look, which names no rule
                self._read(result)
            except EnvFault as broken:
                error = broken
        rule = contract.broken_below(self._envs[i], call, error, self._seeds[i])
        if rule is not None:
            return EnvFault(call, f"{self._where(i)}: {rule}")
        if isinstance(error, FdrlError):  # from a wrapper of ours, which knows better
            kind = error.kind if isinstance(error, EnvFault) else "shape"
            return EnvFault(kind, f"{self._where(i)}: {error}")
        reset = "reset(self, *, seed=None, options=None)"
        what = contract.raised(call, error, self._masked, reset)
        return EnvFault(call, f"{self._where(i)}: {what}")

    def _endless(self, i: int) -> EnvFault:
        return EnvFault(
            "step",
            f"{self._where(i)}: the episode goes on after its limit of {self._most} steps; a "
            "wrapper must not hide that it was truncated",
        )

    def _name_the_infinite(self) -> None:
        for i, (seen, reward) in enumerate(zip(self._next, self._rewards, strict=True)):
            if not np.isfinite(seen).all():
                what = f"step gave the observation {short(seen)}"
                raise EnvFault("finite", f"{self._where(i)}: {what}")
            if not np.isfinite(reward):
                raise EnvFault("finite", f"{self._where(i)}: step gave the reward {reward}")

    def take(self, copies: NDArray[np.int64]) -> GymLoop:
        """Return some copies as a loop of their own; until `put`, only it may be used."""
        part = copy.copy(self)
        part.count = len(copies)
        for name in _LISTS:
            every = getattr(self, name)
            setattr(part, name, [every[i] for i in copies.tolist()])
        part._make_room()
        part._observations[...] = self._observations[copies]
        return part

    def put(self, copies: NDArray[np.int64], part: GymLoop) -> None:
        """Take back what `take` returned, as it is now."""
        for k, i in enumerate(copies.tolist()):
            self._seeds[i], self._played[i] = part._seeds[k], part._played[k]
        self._observations[copies] = part._observations

    def state(self) -> dict[str, Array]:
        """Return each copy's random stream, its episode's seed and the actions since, padded."""
        counts = np.array([len(p) for p in self._played], np.int64)
        box = isinstance(self._actions, spaces.Box)
        tail, kind = (self._actions.shape, self._actions.dtype) if box else ((), np.int64)
        actions = np.zeros((self.count, int(counts.max(initial=0)), *(tail or ())), kind)
        for row, played in zip(actions, self._played, strict=True):
            if played:
                row[: len(played)] = played
        return {
            "generators": pack_generators(self._generators),
            "seeds": np.array(self._seeds, np.int64),
            "actions": actions,
            "counts": counts,
            "seen": seen_now(self._observations),
        }

    def load_state(self, state: dict[str, Array]) -> None:
        """Continue from what `state` returned, by playing each copy's episode again."""
        if len(state["counts"]) != self.count:
            raise EnvFault(
                "resume",
                f"environment {self._name!r}: a state of {len(state['counts'])} copies cannot "
                f"be loaded into {self.count}",
            )
        unpack_generators(self._generators, state["generators"])
        for i, seed in enumerate(state["seeds"].tolist()):
            if seed >= 0:
                moves = state["actions"][i, : state["counts"][i]]
                box = isinstance(self._actions, spaces.Box)
                self._replay(i, seed, self._moves(moves) if box else moves.tolist())
        check_seen(self._name, seen_now(self._observations), state)

    def _replay(self, i: int, seed: int, moves: list[Any]) -> None:
        self._restart(i, seed)
        for move in moves:
            result = None
            try:
                result = self._step_calls[i](copy.copy(move))
                self._observations[i], _, terminated, truncated = self._read(result)
            except RAISED as error:
                raise self._raised(i, "step", error, result) from error
            self._played[i].append(move)
            if terminated or truncated:
                # A run is worth more than this episode: another one begins in its place.
                warn_once(replayed(self._name))
                self._begin(i)
                return

    def close(self) -> None:
        """Close every environment."""
        for env in self._envs:
            contract.close(env, self._name)
