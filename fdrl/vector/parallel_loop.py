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
from fdrl.vector import contract
from fdrl.vector.contract import RAISED, REAL, EnvFault
from fdrl.vector.gym import CAP, LIMIT, no_limit
from fdrl.vector.gym_loop import check_seen, replayed, seen_now
from fdrl.vector.parallel import TeamSpec, masks_of_team, open_world, random_moves

STEP_PARTS = ("observations", "rewards", "terminations", "truncations", "infos")
"""What a step of a world gives, each a dictionary with a value for each agent."""
FIVE_DICTS = [dict] * 5


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
    if team.vectorized is not None and not team.limit:  # those that step together know none
        return team.vectorized(kwargs, seeds)
    return ParallelLoop(team, kwargs, seeds, labels, once=once)


def check_ends(team: TeamSpec, kwargs: Mapping[str, Any]) -> None:
    """Raise for a world without a limit whose episode of random actions never ends.

    An agent that never ends an episode cannot be evaluated. Worlds that step together know when
    they end.
    """
    if team.limit or team.vectorized is not None:
        return
    loop = ParallelLoop(team, [kwargs], [np.random.SeedSequence(0)], ["public world"], once=True)
    try:
        if not loop.ends():
            raise FdrlError(no_limit(team.name, world=True))
    finally:
        loop.close()


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
        self._ids = team.ids
        self._most = team.limit or (CAP if once else 0)
        self._masked = contract.note_masks(team.name, masks_of_team(team))
        self._wide = max(0 if isinstance(s, spaces.Discrete) else s.shape[0]
                         for s in team.action_spaces)  # fmt: skip
        self._seeds = [-1] * self.worlds
        self._played: list[list[list[Any]]] = [[] for _ in range(self.worlds)]
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
        given = {self._ids[i]: self._move(i, moves[i]) for i in present}
        self._at = w
        PULSE.enter(self._whose, "step")
        try:
            result = self._envs[w].step(given)
        except RAISED as error:
            raise self._raised(w, "step", error) from error
        PULSE.leave()
        self._played[w].append(moves)
        seen, rewards, terminated, truncated, infos = self._parts(w, result)
        listed = self._listed(w)
        for i in present:
            one = self._ids[i]
            try:
                what, reward, ended, cut = seen[one], rewards[one], terminated[one], truncated[one]
            except KeyError:
                raise self._missing(w, i, "step", STEP_PARTS, result) from None
            self._show(w, i, what, self._next, "step")
            if type(ended) is not bool or type(cut) is not bool or not isinstance(reward, float):
                reward, ended, cut = self._numbers(w, i, reward, ended, cut)
            self._rewards[i, w] = reward
            # Whoever is gone without a word has ended too: nobody asks for its actions any more.
            ended = ended or not (cut or one in listed)
            self._terminated[i, w], self._truncated[i, w] = ended, cut and not ended
            self._present[i, w] = not (ended or cut)
            if one not in infos:
                self._note_infos(i)
        if not np.isfinite(self._rewards[:, w]).all():
            raise EnvFault("finite", f"{self._where(w)}: step gave the rewards {short(rewards)}")
        if len(rewards) > len(present):
            self._check_strangers(w, rewards, "step gave a reward of")
        self._check_agents(w, present, listed)
        if self._most and len(self._played[w]) >= self._most:
            self._cut(w)

    def _cut(self, w: int) -> None:
        """Truncate an episode at its limit, for everybody who is still there."""
        there = self._present[:, w]
        if there.any() and not self.team.limit:
            warn_once(
                f"environment {self.team.name!r}: an episode was cut after {self._most:,} steps, "
                f"since nothing ended it (--env_kwargs.{LIMIT} N sets another limit)"
            )
        self._truncated[there, w] = True
        self._present[:, w] = False

    def _parts(self, w: int, result: Any) -> tuple[Any, ...]:
        """Return the five dictionaries of a step."""
        if type(result) is tuple and [type(part) for part in result] == FIVE_DICTS:
            return result
        try:
            parts = contract.of_step(result)
        except EnvFault as error:
            raise EnvFault("step", f"{self._where(w)}: {error}") from None
        for part, which in zip(parts, STEP_PARTS, strict=True):
            self._check_dictionary(w, "step", which, part)
        return parts

    def _check_dictionary(self, w: int, call: Any, which: str, part: Any) -> None:
        if not isinstance(part, Mapping):
            raise EnvFault(
                call,
                f"{self._where(w)}: {call} gave the {which} {short(part)}, but they must be a "
                "dictionary with a value for each agent",
            )

    def _missing(self, w: int, i: int, call: Any, names: Sequence[str], parts: Any) -> EnvFault:
        """Name what is missing of an agent in the parts that `call` returned."""
        gone = [which for which, part in zip(names, parts, strict=True)
                if self._ids[i] not in part and which != "infos"]  # fmt: skip
        return EnvFault(
            call,
            f"{self._where(w)}: {call} said nothing of {self.agents[i]} in its "
            f"{' and '.join(gone)}; every agent that acted needs a value there",
        )

    def _numbers(
        self, w: int, i: int, reward: Any, ended: Any, cut: Any
    ) -> tuple[float, bool, bool]:
        try:
            return (
                contract.number(reward),
                contract.flag(ended, "terminated"),
                contract.flag(cut, "truncated"),
            )
        except EnvFault as error:
            raise EnvFault("step", f"{self._where(w)}, {self.agents[i]}: {error}") from None

    def _note_infos(self, i: int) -> None:
        warn_once(
            f"environment {self.team.name!r}: infos hold nothing of {self.agents[i]}; PettingZoo "
            "asks for a dictionary for each agent, fdrl does without"
        )

    def _listed(self, w: int) -> set[Any]:
        """Return the agents that a world says are there."""
        try:
            return set(self._envs[w].agents)
        except RAISED as error:
            raise EnvFault(
                "step",
                f"{self._where(w)}: agents must be the list of those who act next, but reading it "
                f"raised {contract.said(error)}",
            ) from error

    def _check_strangers(self, w: int, part: Any, doing: str) -> None:
        """Raise if anybody is among `part` who is not one of the possible agents."""
        strangers = [one for one in part if one not in self._ids]
        if strangers:
            raise EnvFault(
                "step",
                f"{self._where(w)}: {doing} {short(strangers[0])}, which is not among the "
                "possible_agents",
            )

    def _check_agents(self, w: int, before: Sequence[int], listed: set[Any]) -> None:
        """Raise for agents that cannot be there now; `before` acted in this step."""
        acting = {self._ids[i] for i in np.flatnonzero(self._present[:, w]).tolist()}
        late = sorted(listed - acting, key=str)
        if not late or (not acting and listed <= set(self._ids)):
            return  # nobody acts, so who is still listed does not matter: the world starts again
        self._check_strangers(w, late, "agents lists")
        if late[0] in {self._ids[i] for i in before}:
            raise EnvFault(
                "step",
                f"{self._where(w)}: {late[0]} has ended, but is still one of agents; take it out",
            )
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
            result = self._envs[w].reset(seed=seed)
        except RAISED as error:
            raise self._raised(w, "reset", error) from error
        PULSE.leave()
        try:
            seen, infos = contract.of_reset(result)
        except EnvFault as error:
            raise EnvFault("reset", f"{self._where(w)}: {error}") from None
        self._check_dictionary(w, "reset", "observations", seen)
        if (now := list(self._envs[w].possible_agents)) != list(self._ids):
            raise EnvFault(
                "reset",
                f"{self._where(w)}: possible_agents changed, to {short(now)}; they must stay "
                f"{short(list(self._ids))}",
            )
        missing = [a for a, one in zip(self.agents, self._ids, strict=True) if one not in seen]
        if missing:
            raise EnvFault(
                "reset",
                f"{self._where(w)}: {missing[0]} is not there when the episode begins; agents "
                "that appear later are not supported",
            )
        for i, one in enumerate(self._ids):
            self._show(w, i, seen[one], self._observations, "reset")
            own = infos.get(one)
            if own is None:
                self._note_infos(i)
            elif isinstance(own, Mapping):
                self._masked |= contract.note_masks(self.team.name, own)
        self._present[:, w] = True

    def _show(self, w: int, i: int, seen: Any, rows: list[Array], call: str) -> None:
        shape, shown = rows[i].shape[1:], self.team.shown[i]
        if shown is not self.team.observation_spaces[i]:
            seen = self._flattened(w, i, seen)
        if not (type(seen) is np.ndarray and seen.shape == shape and seen.dtype.kind in REAL):
            try:
                seen = contract.observation(seen, shape)
            except EnvFault as error:
                raise EnvFault("shape", f"{self._where(w)}, {self.agents[i]}: {error}") from None
        rows[i][w] = seen
        if not np.isfinite(rows[i][w]).all():
            raise EnvFault(
                "finite",
                f"{self._where(w)}: {call} gave {self.agents[i]} the observation {short(seen)}",
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

    def _raised(self, w: int, call: Any, error: BaseException) -> EnvFault:
        what = contract.raised(call, error, self._masked, "reset(self, seed=None, options=None)")
        return EnvFault(call, f"{self._where(w)}: {what}")

    def ends(self) -> bool:
        """Say whether the worlds' episodes end by themselves, when all act at random."""
        moves = dict(zip(self.agents, self.team.action_spaces, strict=True))
        draw = np.random.Generator(np.random.PCG64(0))
        self._most = self.team.limit
        self.reset()

        def over() -> bool:
            self.step(random_moves(moves, draw))
            return not self._present.any()

        return contract.ends(over)

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
            contract.close(env, self.team.name)
