"""Real PettingZoo worlds, stepped one after another into shared arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fdrl.core.arrays import Array
from fdrl.core.env import MultiStep, MultiVectorEnv
from fdrl.core.errors import FdrlError, short, warn_once
from fdrl.core.seeding import pack_generators, unpack_generators
from fdrl.core.watch import PULSE
from fdrl.vector.gym_loop import EnvFault, check_seen, replayed, seen_now
from fdrl.vector.parallel import TeamSpec, open_world


def make_worlds(
    team: TeamSpec,
    kwargs: Sequence[Mapping[str, Any]],
    seeds: Sequence[np.random.SeedSequence],
    labels: Sequence[str],
    *,
    once: bool = False,
) -> MultiVectorEnv:
    """Return W worlds: vectorized ones where the environment has them, else real ones in a loop.

    With `once` nobody wants more than one episode of each; real worlds then take no more steps.
    """
    if team.vectorized is not None:
        return team.vectorized(kwargs, seeds)
    return ParallelLoop(team, kwargs, seeds, labels, once=once)


class ParallelLoop:
    """W real worlds with same-step autoreset (a `fdrl.core.env.MultiVectorEnv`).

    Every episode is reset with a seed of its own, and the actions since are kept: a world is
    resumed to the bit by playing its episode again. `labels` [W] name worlds in errors.

    With `once` a world plays one episode after every `reset` and then takes no more steps: nobody
    is alive in it.
    """

    def __init__(
        self,
        team: TeamSpec,
        kwargs: Sequence[Mapping[str, Any]],
        seeds: Sequence[np.random.SeedSequence],
        labels: Sequence[str],
        *,
        once: bool = False,
    ) -> None:
        self.team, self.agents, self._labels = team, team.agents, list(labels)
        self._once = once
        self.worlds = len(kwargs)
        self._generators = [np.random.Generator(np.random.PCG64(s)) for s in seeds]
        self._at, self._envs = 0, []
        for given in kwargs:
            PULSE.enter(self._whose, "its constructor")
            self._envs.append(open_world(team.name, team.open, given))
            self._at += 1
        PULSE.leave()
        self._wide = max(0 if isinstance(s, spaces.Discrete) else s.shape[0]
                         for s in team.action_spaces)  # fmt: skip
        self._seeds = [-1] * self.worlds
        self._played: list[list[list[Any]]] = [[] for _ in range(self.worlds)]
        self._index = {a: i for i, a in enumerate(self.agents)}
        w, n = self.worlds, len(self.agents)
        self._observations = [np.zeros((w, *s.shape), np.float32) for s in team.observation_spaces]
        self._next = [o.copy() for o in self._observations]
        self._rewards = np.zeros((n, w))
        self._terminated, self._truncated = np.zeros((n, w), np.bool_), np.zeros((n, w), np.bool_)
        self._present = np.zeros((n, w), np.bool_)

    def reset(self) -> dict[str, NDArray[np.float32]]:
        """Start a new episode in every world; return the observations [W, *O] by agent."""
        for w in range(self.worlds):
            self._begin(w)
        return dict(zip(self.agents, self._observations, strict=True))

    def step(self, actions: Mapping[str, Array]) -> MultiStep:
        """Advance every world by the agents' actions [W], or [W, D]."""
        moves = self._stacked(actions)
        alive = self._present.copy()
        self._rewards[...] = 0.0
        self._terminated[...] = self._truncated[...] = False
        for w in np.flatnonzero(alive.any(0)).tolist():
            self._advance(w, moves[:, w].tolist())
        for shown, after in zip(self._observations, self._next, strict=True):
            np.copyto(shown, after)
        if not self._once:
            for w in np.flatnonzero(~self._present.any(0)).tolist():
                self._begin(w)
        named = self._named
        return MultiStep(
            named(self._observations), named(self._rewards), named(self._terminated),
            named(self._truncated), named(self._next), named(alive),
        )  # fmt: skip

    def _stacked(self, actions: Mapping[str, Array]) -> Array:
        """Return actions of all agents [n, W], or, if any are continuous, padded [n, W, D]."""
        if not self._wide:
            return np.stack([np.asarray(actions[a], np.int64) for a in self.agents])
        out = np.zeros((len(self.agents), self.worlds, self._wide))
        for row, agent in zip(out, self.agents, strict=True):
            given = np.asarray(actions[agent]).reshape(self.worlds, -1)
            row[:, : given.shape[1]] = given
        return out

    def _move(self, i: int, move: Any) -> Any:
        """Return one action as agent i's world takes it."""
        space = self.team.action_spaces[i]
        if isinstance(space, spaces.Discrete):
            return int(move[0] if self._wide else move) + int(space.start)
        return np.array(move[: space.shape[0]], space.dtype)

    def _named(self, rows: Sequence[Array] | Array) -> dict[str, Array]:
        return dict(zip(self.agents, rows, strict=True))

    def _advance(self, w: int, moves: list[Any]) -> None:
        """Step one world and note what became of the agents that acted."""
        present = [i for i in range(len(moves)) if self._present[i, w]]
        given = {self.agents[i]: self._move(i, moves[i]) for i in present}
        self._at = w
        PULSE.enter(self._whose, "step")
        try:
            seen, rewards, terminated, truncated, _ = self._envs[w].step(given)
        except Exception as error:
            raise self._raised(w, "step", error) from error
        PULSE.leave()
        self._played[w].append(moves)
        for i in present:
            agent = self.agents[i]
            if agent not in seen or agent not in rewards:
                raise EnvFault("shape", f"{self._where(w)}: step said nothing of {agent}")
            self._show(w, i, seen[agent], self._next, "step")
            self._rewards[i, w] = rewards[agent]
            cut = bool(truncated[agent])
            # Whoever is gone without a word has ended too: nobody asks for its actions any more.
            ended = bool(terminated[agent]) or not (cut or agent in self._envs[w].agents)
            self._terminated[i, w], self._truncated[i, w] = ended, cut and not ended
            self._present[i, w] = not (ended or cut)
        if not np.isfinite(self._rewards[:, w]).all():
            raise EnvFault("finite", f"{self._where(w)}: step gave the rewards {rewards}")
        self._check_agents(w, seen)

    def _check_agents(self, w: int, seen: Mapping[str, Any]) -> None:
        acting = {self.agents[i] for i in np.flatnonzero(self._present[:, w]).tolist()}
        late = sorted({*self._envs[w].agents, *seen} - set(self.agents)) or sorted(
            {*self._envs[w].agents} - acting
        )
        if late:
            raise EnvFault(
                "step",
                f"{self._where(w)}: {late[0]} appeared after the episode began; all agents must "
                "be there from the start",
            )

    def _begin(self, w: int) -> None:
        self._restart(w, int(self._generators[w].integers(2**31 - 1)))

    def _restart(self, w: int, seed: int) -> None:
        self._seeds[w], self._played[w] = seed, []
        self._at = w
        PULSE.enter(self._whose, "reset")
        try:
            seen, _ = self._envs[w].reset(seed=seed)
        except Exception as error:
            raise self._raised(w, "reset", error) from error
        PULSE.leave()
        missing = [a for a in self.agents if a not in seen]
        if missing:
            raise EnvFault(
                "reset",
                f"{self._where(w)}: {missing[0]} is not there when the episode begins; agents "
                "that appear later are not supported",
            )
        for i, agent in enumerate(self.agents):
            self._show(w, i, seen[agent], self._observations, "reset")
        self._present[:, w] = True

    def _show(self, w: int, i: int, seen: Any, rows: list[Array], call: str) -> None:
        shape, shown = rows[i].shape[1:], self.team.shown[i]
        if shown is not self.team.observation_spaces[i]:
            seen = self._flattened(w, i, seen)
        if getattr(seen, "shape", None) != shape:
            raise EnvFault(
                "shape",
                f"{self._where(w)}: {self.agents[i]} observed {seen!r}, but its space says an "
                f"array of shape {shape}",
            )
        rows[i][w] = seen
        if not np.isfinite(rows[i][w]).all():
            raise EnvFault(
                "finite", f"{self._where(w)}: {call} gave {self.agents[i]} the observation {seen}"
            )

    def _flattened(self, w: int, i: int, seen: Any) -> Array:
        shown = self.team.shown[i]
        try:
            return np.asarray(spaces.flatten(shown, seen))
        except Exception as error:
            raise EnvFault(
                "shape",
                f"{self._where(w)}: {self.agents[i]} observed {short(seen)}, which does not fit "
                f"its space {short(shown)} ({type(error).__name__}: {short(error)})",
            ) from error

    def _whose(self) -> str:
        """Name the world that is being called."""
        return f"environment {self.team.name!r}, {self._labels[self._at]}"

    def _where(self, w: int) -> str:
        return (
            f"environment {self.team.name!r}, {self._labels[w]}, step {len(self._played[w])} of "
            f"the episode with seed {self._seeds[w]}"
        )

    def _raised(self, w: int, call: Any, error: Exception) -> EnvFault:
        return EnvFault(call, f"{self._where(w)}: {call} raised {type(error).__name__}: {error}")

    def state(self) -> dict[str, Array]:
        """Return each world's random stream, its episode's seed and the actions since, padded."""
        counts = np.array([len(p) for p in self._played], np.int64)
        shape = (self.worlds, int(counts.max(initial=0)), len(self.agents))
        moves: Array = np.zeros(shape, np.int64)
        if self._wide:
            moves = np.zeros((*shape, self._wide))
        for row, played in zip(moves, self._played, strict=True):
            if played:
                row[: len(played)] = played
        return {
            "generators": pack_generators(self._generators),
            "seeds": np.array(self._seeds, np.int64),
            "actions": moves,
            "counts": counts,
            "seen": self._seen_now(),
        }

    def _seen_now(self) -> Array:
        rows = [o.reshape(self.worlds, -1) for o in self._observations]
        return seen_now(np.concatenate(rows, 1))

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned, by playing each world's episode again."""
        if len(state["counts"]) != self.worlds:
            raise FdrlError(
                f"environment {self.team.name!r}: a state of {len(state['counts'])} worlds cannot "
                f"be loaded into {self.worlds}"
            )
        unpack_generators(self._generators, state["generators"])
        for w, seed in enumerate(state["seeds"].tolist()):
            if seed < 0:
                continue
            self._restart(w, seed)
            for moves in state["actions"][w, : state["counts"][w]].tolist():
                self._advance(w, moves)
                if not self._present[:, w].any():
                    warn_once(replayed(self.team.name))
                    self._begin(w)
                    break
                for shown, after in zip(self._observations, self._next, strict=True):
                    shown[w] = after[w]
        check_seen(self.team.name, self._seen_now(), state)

    @property
    def observation_spaces(self) -> Mapping[str, spaces.Space[Any]]:
        """By agent."""
        return dict(zip(self.agents, self.team.observation_spaces, strict=True))

    @property
    def action_spaces(self) -> Mapping[str, spaces.Space[Any]]:
        """By agent."""
        return dict(zip(self.agents, self.team.action_spaces, strict=True))

    def close(self) -> None:
        """Close every world."""
        for env in self._envs:
            env.close()
