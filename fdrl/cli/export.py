"""``fdrl export RUN``: write a trained agent as a Stable-Baselines3 model."""

from __future__ import annotations

import io
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from tyro.conf import Positional

from fdrl.cli import options
from fdrl.cli.eval import agent_index, load
from fdrl.cli.options import Switch, argument, flag
from fdrl.core.errors import FdrlError
from fdrl.core.paths import absolute

if TYPE_CHECKING:
    from fdrl.federation.loop import Agents
    from fdrl.vector.factory import EnvFactory


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """Write one agent of a run folder as a Stable-Baselines3 zip: `PPO.load`, `A2C.load` run it."""

    run: Annotated[Positional[str], argument("RUN")]
    """A run folder."""
    agent: Annotated[str | None, flag("ID", "the best")] = None
    """Which one, by id or number."""
    out: Annotated[str | None, flag("FILE", "RUN/AGENT.zip")] = None
    """The zip to write, or a folder for it."""
    trust: Switch = False
    """Import what the folder names although it is not registered: you trust who made it."""


def main(argv: list[str]) -> int:
    """Load the run, convert, write."""
    if not argv:
        return options.usage(Export, "export")
    asked = options.read(Export, argv, "export")
    folder = Path(asked.run)
    check_name(asked.out)
    federation, _ = load(folder, trust=asked.trust)
    try:
        path, note = export(federation, folder, asked.agent, asked.out)
    finally:
        federation.close()
    print(path)
    if note:
        print(f"fdrl: note: {note}", file=sys.stderr)
    return 0


def check_name(out: str | None) -> None:
    """Raise unless a zip can be called so; a name without an ending gets one."""
    path = Path(out or "")
    if path.suffix not in ("", ".zip") and not absolute(path).is_dir():
        raise FdrlError(
            f"--out {shlex.quote(str(out))}: an exported agent is a zip; call it "
            f"{shlex.quote(str(path.with_suffix('.zip')))}"
        )


def _target(out: str | None, folder: Path, agent: str) -> Path:
    """Return the zip that is meant: of a folder, the agent's in it."""
    path = Path(out) if out else folder
    if not out or out.endswith(("/", os.sep)) or absolute(path).is_dir():
        return path / f"{agent}.zip"
    return path.with_name(path.name.removesuffix(".zip") + ".zip")


def export(
    federation: object, folder: Path, agent: str | None, out: str | None
) -> tuple[Path, str]:
    """Write the agent; return where, and what its user must know of it."""
    from fdrl.core.files import make_folder, write_atomic
    from fdrl.federation import groups as groups_federation
    from fdrl.federation.loop import Agents
    from fdrl.vector.teams import factory_of

    assert isinstance(federation, Agents)
    ids = federation.ids
    if agent is not None:
        index = agent_index(agent, ids, folder)
    else:
        index = int(federation.evaluate(federation.run.evaluation.episodes).mean(1).argmax())
    groups = groups_federation.groups(federation.run)
    number = next(i for i, group in enumerate(groups) if index in group.agents)
    row = federation.cohorts[number].parameters("all")[groups[number].agents.index(index)]
    envs = factory_of(federation.envs, index)
    convert = _converter(groups[number].name)
    model = convert(groups[number].settings, row, envs.subset([envs.agents.index(index)]))
    path = _target(out, folder, ids[index])
    root = None if out else absolute(folder)
    buffer = io.BytesIO()
    model.save(buffer)
    make_folder(absolute(path).parent, root)
    write_atomic(absolute(path), buffer.getvalue(), root)
    return path, _shared(federation, index, envs)


def _converter(name: str) -> Any:
    """Return what makes an agent of this learner a model; `FdrlError` if nothing does."""
    from fdrl.core.registry import AGENTS, load_object

    if entry := AGENTS.spec(name).export:
        return load_object(entry)
    able = [spec.name for spec in AGENTS.by_default() if spec.export]
    raise FdrlError(
        f"agent {name!r} cannot be exported to Stable-Baselines3: only {', '.join(able)}"
    )


def _shared(federation: Agents, index: int, envs: EnvFactory) -> str:
    """Say whose policy it is in a shared world: `PPO.load` knows of one agent only."""
    if federation.together is None:
        return ""
    name = federation.envs.kwargs[index]["agent"]
    return (
        f"it is one agent of a world that several share: the policy of {name!r} in "
        f"{federation.run.env}, which observes {envs.observation_shape} and has {envs.n_actions} "
        "actions; predict() acts for that agent alone"
    )
