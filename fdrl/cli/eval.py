"""``fdrl eval RUN``: evaluate a run's agents, and record what they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from tyro.conf import Positional

from fdrl.cli import options
from fdrl.cli.options import Switch, argument, flag
from fdrl.config.trust import command
from fdrl.core.errors import FdrlError, nearest, warn_once
from fdrl.core.paths import absolute
from fdrl.core.settings import PositiveInt

if TYPE_CHECKING:
    from fdrl.federation.loop import Agents


class Eval(msgspec.Struct, frozen=True, kw_only=True):
    """Evaluate the agents of a run folder, as its last checkpoint has them."""

    run: Annotated[Positional[str], argument("RUN", "(required)")] = ""
    """A run folder."""
    episodes: Annotated[PositiveInt | None, flag("N", "the run's")] = None
    """Episodes per agent."""
    stochastic: Switch = False
    """Sample actions instead of taking the likeliest."""
    held_out: Switch = False
    """In environments that no agent trained in."""
    video: Annotated[tuple[str, ...] | None, flag("[DIR]", "no video")] = None
    """Record an animated GIF to DIR (RUN/video if none is named)."""
    agent: Annotated[str, flag("ID", "all; a video is of the best and the worst")] = ""
    """This agent only, by id or number."""
    trust: Switch = False
    """Import what the folder names although it is not registered: you trust who made it."""


def main(argv: list[str]) -> int:
    """Print a table of returns; write videos if asked to."""
    if not argv:
        return options.usage(Eval, "eval")
    asked = options.read(Eval, argv, "eval")
    if not asked.run and asked.video:  # the value of --video may be left out: --video RUN
        asked = msgspec.structs.replace(asked, run=asked.video[0], video=())
    if not asked.run:
        raise FdrlError("fdrl eval needs a run folder: fdrl eval RUN")
    folder = Path(asked.run)
    federation, round = load(folder, trust=asked.trust)
    try:
        _evaluate(federation, round, folder, asked)
    finally:
        federation.close()
    return 0


def load(folder: Path, *, trust: bool = False) -> tuple[Agents, int]:
    """Build a run's agents as its last checkpoint left them; also return the round.

    What the folder names is imported if it is registered, or if you `trust` who made it.
    """
    from fdrl.federation.loop import Agents
    from fdrl.runs.checkpoint import checkpoint_path, continue_from
    from fdrl.runs.folder import own_checkpoint, read_run

    place = absolute(folder)
    run = read_run(folder, trust=trust)
    checkpoint = own_checkpoint(place, run)
    if checkpoint is None:
        raise FdrlError(
            f"{folder} has no checkpoint yet; run it on with: "
            + command("fdrl train --resume", folder, run)
        )
    federation = Agents(msgspec.structs.replace(run, threads=1))
    try:
        continue_from(checkpoint, checkpoint_path(folder, checkpoint.round), federation)
    except BaseException:
        federation.close()
        raise
    return federation, checkpoint.round


def _evaluate(federation: Agents, round: int, folder: Path, asked: Eval) -> None:
    from fdrl.runs.metric_names import wording

    run, ids = federation.run, federation.ids
    if asked.video is not None and federation.together is not None:
        raise FdrlError(f"{run.env}: no videos of agents that share a world yet")
    if asked.video is not None and wording(run).labels:
        raise FdrlError(f"{run.env} holds examples to name: there is nothing to film")
    chosen = list(range(len(ids)))
    if asked.agent:
        chosen = [agent_index(asked.agent, ids, folder)]
    episodes = asked.episodes or run.evaluation.episodes
    greedy, held_out = not asked.stochastic, asked.held_out
    returns = federation.evaluate(episodes, held_out=held_out, greedy=greedy)
    how = "greedy" if greedy else "sampled actions"
    if wording(run).labels:
        how = "test examples" if greedy else "test examples, sampled labels"
    title = f"{run.strategy_name} on {run.env} after round {round}: {how}"
    if wording(run).labels:
        _print_accuracies(title, federation, returns, chosen)
    else:
        _print(title, federation, returns, chosen, held_out)
    if asked.video is not None:
        order = sorted(chosen, key=lambda i: float(returns[i].mean()))
        target = Path(*asked.video) if asked.video else folder / "video"
        _videos(federation, sorted({order[0], order[-1]}), target, greedy)


def agent_index(name: str, ids: Sequence[str], folder: Path) -> int:
    """Return the index of an agent that is named by its id or its number."""
    if name in ids:
        return ids.index(name)
    if name.isdecimal() and int(name) < len(ids):
        return int(name)
    raise FdrlError(f"no agent {name!r} in {folder}{nearest(name, ids)}")


def _numbers(returns: Any) -> tuple[str, str, str, str]:
    from fdrl.runs.progress import human_return

    spread = returns.mean(), returns.std(), returns.min(), returns.max()
    mean, std, low, high = (human_return(float(v)) for v in spread)
    return mean, std, low, high


def _print_accuracies(title: str, federation: Agents, returns: Any, chosen: list[int]) -> None:
    """Print each agent's accuracy: its episodes are parts of the test examples."""
    from fdrl.cli.listing import print_table

    rows = [(federation.ids[i], federation.labels[i], _numbers(returns[i])[0]) for i in chosen]
    print_table(("agent", "owns", "accuracy"), rows, title=title)
    mean, spread, worst, _ = _numbers(returns[chosen].mean(1))
    print(f"\naccuracy: mean {mean} · worst {worst} · spread {spread}")


def _print(title: str, federation: Agents, returns: Any, chosen: list[int], held_out: bool) -> None:
    """Print each agent's returns; held out, also each environment's, as agents know none."""
    from fdrl.cli.listing import console_width, print_table

    numbers = ("mean", "std", "min", "max")
    own = {i: _numbers(returns[i]) for i in chosen}
    ids, labels = federation.ids, federation.labels
    if held_out:
        rows: list[tuple[str, ...]] = [(ids[i], *own[i]) for i in chosen]
        print_table(("agent", *numbers), rows, title=title)
        envs = federation.envs.held_out
        apart = returns[chosen].reshape(len(chosen), len(envs), -1)
        rows = [(_said(k), *_numbers(apart[:, h])) for h, k in enumerate(envs)]
        print()
        print_table(("evaluated in", *numbers), rows)
    else:
        # On a narrow screen what an agent learns in would break into many lines.
        told = console_width() >= 56
        rows = [(ids[i], *([labels[i]] if told else []), *own[i]) for i in chosen]
        print_table(("agent", *(["learns in"] if told else []), *numbers), rows, title=title)
    means = returns[chosen].mean(1)
    mean, spread, worst, _ = _numbers(means)
    episodes = f"{returns.shape[1]} episode{'s' * (returns.shape[1] != 1)}"
    print(f"\n{episodes} each: mean {mean} · worst {worst} · spread {spread}")


def _said(kwargs: Mapping[str, Any]) -> str:
    """Return an environment that no agent learned in, in a few words."""
    words = (f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in kwargs.items())
    return " ".join(words) or "the same environment, other seeds"


def policy(federation: Agents, agent: int, greedy: bool) -> Callable[[Any], Any]:
    """Return one agent's way to act on a single observation: a number, or an array [D]."""
    import numpy as np

    from fdrl.core.seeding import Purpose, generator
    from fdrl.vector.teams import factory_of

    envs = factory_of(federation.envs, agent)
    name = federation.ids[agent]
    cohort = next(c for c in federation.cohorts if name in c.ids)
    row = cohort.ids.index(name)
    draw = generator(federation.run.evaluation.seed, Purpose.EVALUATION, agent, 0)
    space: Any = envs.action_space
    first = int(getattr(space, "start", 0))

    def act(observation: Any) -> Any:
        states = np.asarray(observation, dtype=np.float32)[None]
        probs = cohort.probs(states)[row, 0]
        if envs.gaussian:
            mean, std = np.split(probs, 2)
            drawn = mean if greedy else mean + std * draw.standard_normal(len(std))
            return np.clip(drawn, space.low, space.high).astype(space.dtype)
        if greedy:
            return first + int(probs.argmax())
        return first + min(int((probs.cumsum() < draw.random()).sum()), len(probs) - 1)

    return act


def _videos(federation: Agents, agents: list[int], target: Path, greedy: bool) -> None:
    from fdrl.core.files import make_folder
    from fdrl.core.seeding import Purpose, leaf
    from fdrl.runs.folder import CONFIG
    from fdrl.runs.progress import human_return
    from fdrl.runs.video import record
    from fdrl.vector.factory import EnvFactory
    from fdrl.vector.gym import render_env

    assert isinstance(federation.envs, EnvFactory)
    typed, target = target, absolute(target)
    root = target.parent if (target.parent / CONFIG).is_file() else None
    branch = leaf(federation.run.evaluation.seed, Purpose.EVALUATION, 0)
    seed = int(branch.generate_state(1)[0])
    for index in agents:
        env = render_env(federation.envs.spec, federation.envs.kwargs[index])
        make_folder(target, root)
        path = target / f"{federation.ids[index]}.gif"
        act = policy(federation, index, greedy)
        total, note = record(env, act, seed, path, federation.envs.spec.name, root)
        said = f"one episode of {federation.ids[index]}, return {human_return(total)}"
        print(f"{typed / path.name}: {said}", flush=True)
        if note:
            warn_once(note)
