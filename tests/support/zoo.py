"""Worlds that break one rule each, and a few that only look as if they did.

`CARTS` are Gymnasium environments, `DUOS` PettingZoo's parallel ones, by name: what becomes of each
("refused", "warned" by the check, or "fine"), and facts that the lines of check and training hold.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

SEEN = spaces.Box(-5.0, 5.0, (2,))
CARTS: dict[str, tuple[str, tuple[Any, ...]]] = {}
DUOS: dict[str, tuple[str, tuple[Any, ...]]] = {}


def cart(outcome: str, *facts: Any) -> Any:
    """Enter an environment in `CARTS`."""

    def enter(cls: type) -> type:
        CARTS[cls.__name__] = (outcome, facts)
        return cls

    return enter


def duo(outcome: str, *facts: Any) -> Any:
    """Enter a world in `DUOS`."""

    def enter(cls: type) -> type:
        DUOS[cls.__name__] = (outcome, facts)
        return cls

    return enter


@cart("fine")
class Cart(gymnasium.Env[Any, Any]):
    """A walk of six steps."""

    observation_space: Any = SEEN
    action_space: Any = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self.look(), self.told()

    def look(self) -> Any:
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def told(self) -> Any:
        return {}

    def pay(self, action: Any) -> Any:
        return 1.0

    def over(self) -> Any:
        return self.t >= 6

    def step(self, action: Any) -> Any:
        self.t += 1
        return self.look(), self.pay(action), self.over(), False, self.told()


@cart("refused", "step returned 4 things", "terminated, truncated", "old gym")
class OldStep(Cart):
    def step(self, action: Any) -> Any:
        seen, reward, ended, _, info = super().step(action)
        return seen, reward, ended, info


@cart("refused", "reset returned one thing", "observation, info", "old gym")
class OldReset(Cart):
    def reset(self, **given: Any) -> Any:
        return super().reset(**given)[0]


@cart("refused", "reset returned one thing", "dict", "observation, info")
class OldResetOfTwo(OldReset):
    observation_space = spaces.Dict({"a": SEEN, "b": SEEN})

    def look(self) -> Any:
        return {"a": super().look(), "b": super().look()}


@cart("refused", "step returned one thing", "NoneType")
class Nothing(Cart):
    def step(self, action: Any) -> Any:
        return None


@cart("refused", "reward", "1.0", "str", "number")
class TextReward(Cart):
    def pay(self, action: Any) -> Any:
        return "1.0"


@cart("refused", "reward", "None", "number")
class NoReward(Cart):
    def pay(self, action: Any) -> Any:
        return None


@cart("refused", "reward", "complex", "number")
class ComplexReward(Cart):
    def pay(self, action: Any) -> Any:
        return 1j


@cart("refused", "reward", "nan")
class NaNReward(Cart):
    def pay(self, action: Any) -> Any:
        return float("nan")


@cart("refused", "reward", "too large")
class HugeReward(Cart):
    def pay(self, action: Any) -> Any:
        return 10**400


@cart("warned")
class ArrayReward(Cart):
    """One number is one number, however it is wrapped."""

    def pay(self, action: Any) -> Any:
        return np.array([1.0], np.float32)

    def over(self) -> Any:
        return np.array([self.t >= 6])


@cart("refused", "terminated", "None", "True or False")
class NoFlag(Cart):
    def over(self) -> Any:
        return None


@cart("refused", "terminated", "no", "True or False")
class TextFlag(Cart):
    def over(self) -> Any:
        return "no"


@cart("refused", "info", "None", "dictionary")
class NoInfo(Cart):
    def told(self) -> Any:
        return None


@cart("refused", "observation", "list", "(2,)")
class ListSeen(Cart):
    def look(self) -> Any:
        return [0.0, 0.0]


@cart("refused", "observation", "complex64", "real numbers")
class ComplexSeen(Cart):
    def look(self) -> Any:
        return np.zeros(2, np.complex64)


@cart("refused", "observation", "<U3", "real numbers")
class TextSeen(Cart):
    def look(self) -> Any:
        return np.array(["0.5", "0.5"])


@cart("refused", "SystemExit", "zoo.py")
class Exits(Cart):
    """As a game does when its window is closed."""

    def step(self, action: Any) -> Any:
        sys.exit(0)


@cart("refused", "Mute", "zoo.py")
class FailsAtFailing(Cart):
    """What it raises cannot even be printed."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    def step(self, action: Any) -> Any:
        raise self.Mute


@cart("refused", "made", "ZeroDivisionError", "zoo.py")
class Unmade(Cart):
    def __init__(self) -> None:
        self.width = 1 / 0


@cart("refused", "action_space", "NoneType", "gymnasium.spaces.Space")
class Spaceless(Cart):
    action_space = None


@cart("refused", "Discrete(1)", "one action")
class OneAction(Cart):
    action_space = spaces.Discrete(1)


@cart("refused", "Discrete(1)", "one action")
class OneOfEach(Cart):
    action_space = spaces.MultiDiscrete([1, 1])


@cart("refused", "Box(0.5, 0.5, (2,), float32)", "one action")
class Fixed(Cart):
    action_space = spaces.Box(0.5, 0.5, (2,))


@cart("fine")
class Shifted(Cart):
    action_space = spaces.Discrete(3, start=-1)

    def pay(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        return 1.0


@cart("refused", "(0,)")
class Blind(Cart):
    observation_space = spaces.Box(-1.0, 1.0, (0,))


@cart("refused", "no limit", "--env_kwargs.max_episode_steps N")
class Endless(Cart):
    limited = False

    def over(self) -> Any:
        return False


@cart("warned", "ends its episodes itself", "10,000", "--env_kwargs.max_episode_steps N")
class EndsItself(Cart):
    limited = False

    def step(self, action: Any) -> Any:
        seen, reward, ended, _, info = super().step(action)
        return seen, reward, False, ended, info


@cart("warned", "close() raised RuntimeError", "zoo.py")
class CloseRaises(Cart):
    def close(self) -> None:
        raise RuntimeError("closed by hand")


@cart("warned", "action_mask", "not honor")
class Masked(Cart):
    observation_space = spaces.Dict(
        {"observation": SEEN, "action_mask": spaces.Box(0, 1, (2,), np.int8)}
    )

    def look(self) -> Any:
        return {"observation": super().look(), "action_mask": np.ones(2, np.int8)}


@cart("warned", "action_mask", "not honor")
class MaskTold(Cart):
    def told(self) -> Any:
        return {"action_mask": np.ones(2, np.int8)}


@cart("warned")
class IgnoresSeed(Cart):
    def look(self) -> Any:
        return np.random.default_rng().uniform(-1, 1, 2).astype(np.float32)


class Duo(ParallelEnv):  # type: ignore[misc]
    """Two agents, six steps."""

    metadata: ClassVar[dict[str, Any]] = {"name": "duo"}
    names: Any = ("a_0", "a_1")

    def __init__(self, render_mode: str | None = None) -> None:
        self.possible_agents, self.agents = list(self.names), []
        self.moves: Any = spaces.Discrete(2)

    def observation_space(self, agent: Any) -> Any:
        return SEEN

    def action_space(self, agent: Any) -> Any:
        return self.moves

    def all(self, value: Any) -> dict[Any, Any]:
        return {a: value(a) if callable(value) else value for a in self.agents}

    def look(self, agent: Any) -> Any:
        return self.rng.uniform(-1, 1, 2).astype(np.float32)

    def pay(self, agent: Any) -> Any:
        return 1.0

    def over(self) -> bool:
        return self.t >= 6

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.rng, self.t = np.random.default_rng(seed), 0
        self.agents = list(self.possible_agents)
        return self.all(self.look), self.all(lambda a: {})

    def step(self, actions: dict[Any, Any]) -> Any:
        self.t += 1
        parts = [self.all(self.look), self.all(self.pay), self.all(self.over()), self.all(False),
                 self.all(lambda a: {})]  # fmt: skip
        if self.over():
            self.agents = []
        return self.changed(parts)

    def changed(self, parts: list[Any]) -> Any:
        return tuple(parts)


@duo("fine")
class Numbers(Duo):
    """PettingZoo's documentation says that ids are typically integers."""

    names = (0, 1)


@duo("refused", "'1'", "more than once", "ids must differ")
class Twins(Duo):
    names = (1, "1")


@duo("refused", "bytes", "ids must be texts or whole numbers")
class Bytes(Duo):
    names = (b"a", b"b")


@duo("refused", "possible_agents")
class Unlisted(Duo):
    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()
        del self.possible_agents


@duo("refused", "possible_agents changed", "a_2")
class Grows(Duo):
    episodes = itertools.count()

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        if next(self.episodes) % 2:
            self.possible_agents = ["a_0", "a_1", "a_2"]
        return super().reset(seed, options)


@duo("refused", "agents lists", "a_9", "possible_agents")
class Stranger(Duo):
    def changed(self, parts: list[Any]) -> Any:
        self.agents = [*self.agents, "a_9"]
        return tuple(parts)


@duo("refused", "a_0", "observations")
class NoSeen(Duo):
    def changed(self, parts: list[Any]) -> Any:
        return ({}, *parts[1:])


@duo("refused", "a_1", "rewards")
class NoPay(Duo):
    def changed(self, parts: list[Any]) -> Any:
        parts[1].pop("a_1", None)
        return tuple(parts)


@duo("refused", "a_0", "terminations and truncations")
class NoEnds(Duo):
    def changed(self, parts: list[Any]) -> Any:
        return (*parts[:2], {}, {}, parts[4])


@duo("warned", "infos", "a_0")
class NoInfos(Duo):
    def changed(self, parts: list[Any]) -> Any:
        return (*parts[:4], {})


@duo("refused", "a reward of", "__all__", "possible_agents")
class RewardOfAll(Duo):
    def changed(self, parts: list[Any]) -> Any:
        parts[1]["__all__"] = 2.0
        return tuple(parts)


@duo("refused", "rewards", "[1.0, 1.0]", "dictionary")
class ListOfRewards(Duo):
    def changed(self, parts: list[Any]) -> Any:
        return (parts[0], [1.0, 1.0], *parts[2:])


@duo("refused", "step returned 4 things", "old gym")
class OldDuoStep(Duo):
    def changed(self, parts: list[Any]) -> Any:
        return (*parts[:3], parts[4])


@duo("refused", "reset returned one thing", "observation, info")
class OldDuoReset(Duo):
    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed, options)[0]


@duo("refused", "reward", "str", "a_0")
class TextPay(Duo):
    def pay(self, agent: Any) -> Any:
        return "1.0"


@duo("fine")
class ArrayPay(Duo):
    def pay(self, agent: Any) -> Any:
        return np.array([1.0])


@duo("refused", "observation_space", "methods")
class Attributes(Duo):
    observation_space: Any = SEEN


@duo("warned")
class FreshSpaces(Duo):
    """Equal ones at each call: PettingZoo's own test wants the very same object."""

    def observation_space(self, agent: Any) -> Any:
        return spaces.Box(-5.0, 5.0, (2,))


@duo("refused", "observation_space", "must not change")
class MovingSpaces(Duo):
    sizes = itertools.count(1)

    def observation_space(self, agent: Any) -> Any:
        return spaces.Box(-5.0, 5.0, (next(self.sizes),))


@duo("refused", "action_space", "NoneType", "gymnasium.spaces.Space")
class NoSpace(Duo):
    def action_space(self, agent: Any) -> Any:
        return None


@duo("refused", "action_space", "KeyError", "zoo.py")
class SpaceRaises(Duo):
    def action_space(self, agent: Any) -> Any:
        return {}[agent]


@duo("refused", "Discrete(1)", "one action")
class OneMove(Duo):
    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()
        self.moves = spaces.Discrete(1)


@duo("refused", "no limit", "--env_kwargs.max_episode_steps N")
class EndlessDuo(Duo):
    def over(self) -> bool:
        return False


@duo("warned", "close() raised RuntimeError", "zoo.py")
class DuoCloseRaises(Duo):
    def close(self) -> None:
        raise RuntimeError("closed by hand")


@duo("warned", "action_mask", "not honor")
class MaskedDuo(Duo):
    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        seen, _ = super().reset(seed, options)
        return seen, self.all(lambda a: {"action_mask": [1, 0]})


@duo("refused", "a_0", "has ended", "still one of agents")
class Lingers(Duo):
    def changed(self, parts: list[Any]) -> Any:
        if "a_0" in parts[2]:
            parts[2]["a_0"] = True
        return tuple(parts)
