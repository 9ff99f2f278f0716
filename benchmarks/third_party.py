"""Train in environments of other people's packages, unchanged, each with one command.

    pip install minigrid highway-env flappy-bird-gymnasium ale-py gym-anytrading popgym \
        tetris-gymnasium mo-gymnasium crafter buffalo-gym gymnasium-search-race gymnasium-2048 \
        boing-gym gym-pusht vizdoom lbforaging rware momaland bluesky-gym
    python benchmarks/third_party.py            # writes docs/third-party.md

What is not installed is left out. Each command is run as it is printed, in a folder of its own.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "third-party.md"
TIMEOUT = 900


class World(NamedTuple):
    """An environment of somebody's package, and what it takes beyond its id."""

    package: str
    kind: str
    env: str
    extra: str = ""
    steps: int = 2000


LIMIT = "--env_kwargs.max_episode_steps"
WORLDS = (
    World("minigrid", "grid worlds, a dictionary of image, direction and text",
          "minigrid:MiniGrid-Empty-5x5-v0", f"{LIMIT} 100"),
    World("flappy-bird-gymnasium", "a game, 180 lidar beams", "flappy_bird_gymnasium:FlappyBird-v0",
          f"{LIMIT} 500"),
    World("ale-py", "Atari, the machine's memory", "ale_py:ALE/Breakout-v5",
          f"--env_kwargs.obs_type ram {LIMIT} 500 --evaluation.episodes 5"),
    World("gym-anytrading", "trading, a window of prices", "gym_anytrading:forex-v0",
          f"{LIMIT} 100"),
    World("popgym", "partial observability, discrete observations",
          "popgym:popgym-RepeatPreviousEasy-v0", f"{LIMIT} 100"),
    World("tetris-gymnasium", "a game, a dictionary of boards",
          "tetris_gymnasium.envs:tetris_gymnasium/Tetris", f"{LIMIT} 200"),
    World("mo-gymnasium", "several rewards at once", "mo_gymnasium:deep-sea-treasure-v0"),
    World("ale-py", "Atari, its screen", "ale_py:ALE/Breakout-v5", f"{LIMIT} 500"),
    World("highway-env", "driving by wheel and pedal", "highway_env:intersection-v1",
          f"{LIMIT} 30 --evaluation.episodes 2", 400),
    World("highway-env", "driving, occupancy in time", "highway_env:two-way-v0",
          f"{LIMIT} 30 --evaluation.episodes 2", 400),
    World("crafter", "no Gymnasium environment", "crafter:Env", f"{LIMIT} 100"),
    World("buffalo-gym", "a bandit of ten arms", "buffalo_gym:Buffalo-v0"),
    World("gymnasium-search-race", "racing through checkpoints, 74 actions",
          "gymnasium_search_race:gymnasium_search_race/SearchRaceDiscrete-v3"),
    World("gymnasium-2048", "the game 2048; ends by itself, has no limit",
          "gymnasium_2048:gymnasium_2048/TwentyFortyEight-v0", f"{LIMIT} 500"),
    World("boing-gym", "table tennis", "boing_gym:Boing-v0", f"{LIMIT} 100", 400),
    World("gym-pusht", "pushing a block, continuous", "gym_pusht:gym_pusht/PushT-v0", "", 400),
    World("vizdoom", "Doom, a dictionary with its screen",
          "vizdoom.gymnasium_wrapper:VizdoomBasic-v1", f"{LIMIT} 100", 400),
    World("lbforaging", "foraging by several agents, in Gymnasium's clothes",
          "lbforaging:Foraging-8x8-2p-1f-v3"),
    World("rware", "a warehouse of several robots, in Gymnasium's clothes",
          "rware:rware-tiny-2ag-v2"),
    World("momaland", "several agents, several rewards at once",
          "momaland.envs.item_gathering:moitem_gathering_v0"),
)  # fmt: skip

INTRO = """# Other people's environments

Environments that nobody of fdrl wrote, unchanged, each with one command. The table is made by
`python benchmarks/third_party.py`; two agents and so few steps show that it runs, not that it is
solved.

Observations that are dictionaries, tuples, tables or discrete numbers are flattened, and fdrl says
so. Of more than some eleven numbers, proxy states are those that a random policy visits
(`--proxy rollout`). An environment that ends its episodes itself, but was registered without a
time limit, is cut after 10,000 steps, and fdrl says so: `--env_kwargs.max_episode_steps N` sets
another limit.

| package | kind | what happened |
| --- | --- | --- |
"""

AFTER = """
Checking, evaluating, filming, exporting and resuming were tried by hand as well:

| package | `fdrl check` | `fdrl eval --video` | `fdrl export` | `fdrl train --resume` |
| --- | --- | --- | --- | --- |
| buffalo-gym 0.4.0 | usable | refused: it draws nothing | written | goes on |
| gymnasium-search-race 4.1.1 | usable | filmed | written | goes on |
| gymnasium-2048 0.1.2 | usable, capped | see below | refused: convolutions | goes on |
| boing-gym 0.1.0 | usable | filmed | written | goes on |
| gym-pusht 0.1.8 (pymunk below 7) | usable | filmed | refused: continuous actions | goes on |
| mpe2 1.1.1, `simple_tag_v3` | usable | refused: a shared world | written, one agent | goes on |
| lbforaging 2.0.0, rware 2.0.0 | refused, as training | | | |
| momaland 0.2.0 | refused, as training | | | |
| vizdoom 1.3.2 | refused, as training | | | |
| pogema 1.4.0 | refused: its own wrapper fails with gymnasium 1.4 (`pogema/envs.py:467`) | | | |

A greedy agent that has learned nothing repeats a move that 2048 does not allow until the cap of
10,000 steps: its film was not finished after two minutes. A shorter limit is the remedy.
"""


def command(world: World) -> list[str]:
    """Return the words after ``fdrl``."""
    words = ["train", "--env", world.env, "--strategy", "fd", "--agents", "2"]
    return [*words, "--steps", str(world.steps), *shlex.split(world.extra)]


def version(package: str) -> str | None:
    """Return a package's version, None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def outcome(world: World) -> str:
    """Run the command; say in a line what happened."""
    with tempfile.TemporaryDirectory() as folder:
        run = [sys.executable, "-m", "fdrl", *command(world), "--out", "run", "--quiet"]
        own = os.environ.get("PYTHONPATH", "")
        paths = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep * bool(own)}{own}"}
        try:
            done = subprocess.run(
                run, cwd=folder, env=paths, capture_output=True, text=True, timeout=TIMEOUT
            )
        except subprocess.TimeoutExpired:
            return f"not finished after {TIMEOUT} s"
        if done.returncode == 0:
            summary = json.loads((Path(folder) / "run" / "summary.json").read_text())
            up, down = summary["bytes_up"] / 1e3, summary["bytes_down"] / 1e3
            mean = summary["return_mean"]
            return f"trained; final return {mean:.3g}; {up:.1f} kB up, {down:.1f} kB down an agent"
    errors = [line for line in done.stderr.splitlines() if line.startswith("fdrl: error: ")]
    if not errors:
        return f"FAILED: {done.stderr.strip().splitlines()[-1]}"
    said = errors[-1].removeprefix("fdrl: error: ").partition(" (run stopped after")[0]
    return f"refused: {said}".replace("|", "\\|")


def main() -> None:
    """Run what is installed and write the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default="", help="a part of the environments' names")
    options.add_argument("--out", type=Path, default=PAGE)
    args = options.parse_args()
    rows, commands = [], []
    for world in WORLDS:
        if args.only not in world.env or (installed := version(world.package)) is None:
            continue
        what = outcome(world)
        line = " ".join(["fdrl", *command(world)])
        rows.append(f"| {world.package} {installed} | {world.kind} | {what} |")
        commands.append(f"# {world.package}: {world.kind}\n{line}")
        print(f"{line}\n  {what}", flush=True)
    block = "\n".join(commands)
    text = INTRO + "\n".join(rows) + "\n\nThe commands, in the same order:\n\n"
    args.out.write_text(f"{text}<!-- snippet: skip -->\n```bash\n{block}\n```\n{AFTER}")


if __name__ == "__main__":
    main()
