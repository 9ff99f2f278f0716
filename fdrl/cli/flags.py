"""Flags for every field of a `Run`: ``--steps 5000 --agent.lr 1e-3 --strategy fedavg``.

tyro builds them from the same classes that read TOML. Which classes those are is decided first, by
bare names (``--agent ppo``); a flag nobody knows is answered here, with the nearest one.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, cast

import msgspec

from fdrl import config
from fdrl.cli.hints import elsewhere, near_flag
from fdrl.cli.switches import is_switch, positive, spell_out
from fdrl.cli.wholes import apart, is_whole, whole
from fdrl.config import Run
from fdrl.distill import DistillSettings
from fdrl.errors import FdrlError
from fdrl.presets import presets

UNIONS = ("agent", "strategy", "hetero", "proxy", "channel")
TABLES = ("env_kwargs", "agent_kwargs", "cohorts")
"""Fields of free shape: TOML only, but for ``--env_kwargs.NAME VALUE``."""
HIDDEN = (*TABLES, "goal", "groups")
"""Fields whose flags tyro does not read: the goal and the groups may be unset."""

COMMON = """Train a federation: PRESET or FILE.toml, then any flag below.

Without either, the quickstart preset is trained; with --env, the defaults in that environment.

presets: {presets}

most used:
  --config NAME        the preset or file, if it does not come first
  --env NAME           environment (see fdrl envs), a Gymnasium id, or module:Id
  --agents N           how many agents
  --strategy NAME      method (see fdrl strategies); then --strategy.FIELD VALUE
  --agent NAME         learner (see fdrl agents); then --agent.FIELD VALUE
  --hetero NAME        how environments differ: none, dynamics, outlier, init, conflict
  --proxy NAME         states asked about: mix, visited, sobol, uniform, grid, file, rollout
  --channel NAME       links to the server: ideal, fading, mac-digital, mac-analog
  --steps N            environment steps per agent
  --episodes N         training episodes per agent; without --steps, the only budget
  --goal MEAN          stop once every agent has had 10 episodes in a row with a mean above that
  --seed N             root of all randomness
  --out DIR            run folder (default: runs/ENV-STRATEGY-SEED)
  --resume DIR         continue a stopped run, to the bit
  --env_kwargs.NAME V  keyword argument of the environment; max_episode_steps: its time limit
  --quiet              print one line at the end

All settings, with the values of this config as their defaults:"""


def _name(flag: str) -> str:
    return flag.lstrip("-").partition("=")[0].replace("-", "_")


def _is_flag(word: str) -> bool:
    return bool(re.match(r"--?[A-Za-z]", word))


def _pairs(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Group words into (flag, its values); ``--x=1`` counts as ``--x 1``."""
    out: list[tuple[str, list[str]]] = []
    for word in words:
        if _is_flag(word):
            flag, equals, value = word.partition("=")
            out.append((flag, [value] if equals else []))
        elif out:
            out[-1][1].append(word)
        else:
            raise FdrlError(f"unexpected argument {word!r} (PRESET or FILE.toml comes first)")
    return out


def _one(flag: str, values: Sequence[str]) -> str:
    if len(values) != 1:
        got = f"{len(values)} values" if values else "none"
        raise FdrlError(f"flag {flag} takes one value, got {got}")
    return values[0]


def _table_value(text: str) -> Any:
    """Read a value as TOML would (numbers, true, lists, quoted text); else as plain text."""
    try:
        return msgspec.toml.decode(f"value = {text}")["value"]
    except (msgspec.DecodeError, KeyError):
        return text


def flag_types(run: Run) -> dict[str, Any]:
    """Return the dotted names of all flags of a run with these types, and their annotations."""

    def below(value: msgspec.Struct, prefix: str) -> dict[str, Any]:
        names: dict[str, Any] = {}
        for field in msgspec.structs.fields(type(value)):
            name, inner = prefix + field.name, getattr(value, field.name)
            if isinstance(inner, msgspec.Struct) and name != "goal":
                names |= below(inner, f"{name}.")
            elif name not in HIDDEN:
                names[name] = field.type
        return names

    return below(run, "")


def choose_types(
    tables: Mapping[str, Any], words: Sequence[str]
) -> tuple[dict[str, Any], list[tuple[str, list[str]]]]:
    """Apply ``--agent NAME``, ``--x.type NAME``, ``--env_kwargs.KEY VALUE``, ``--goal MEAN``.

    Returns the tables, and the flags that are left.

    Naming another type than the file's drops that table of the file: its fields are not the new
    type's.
    """
    chosen, rest = dict(tables), []
    for flag, values in _pairs(words):
        name = _name(flag)
        union = name.removesuffix(".type")
        if union in UNIONS:
            table = chosen.get(union, {})
            new = _one(flag, values)
            if not isinstance(table, Mapping) or table.get("type") != new:
                chosen[union] = {"type": new}
        elif name.partition(".")[0] in ("env_kwargs", "goal") and name != "env_kwargs":
            table, key = name.partition(".")[0], flag.lstrip("-").partition(".")[2]
            given = {key or "mean": _table_value(_one(flag, values))}
            known = chosen.get(table, {})
            if not isinstance(known, Mapping):
                raise FdrlError(f"config: {table} must be a table: [{table}], not {known!r}")
            chosen[table] = {**known, **given}
        else:
            rest.append((flag, values))
    if chosen.get("cohorts") and any(_name(f) == "agent" for f in words if _is_flag(f)):
        raise FdrlError("--agent has no effect here: the config's cohorts name their own learners")
    return chosen, rest


def check_flags(run: Run, pairs: Sequence[tuple[str, list[str]]]) -> None:
    """Raise for a flag that is no field of the run, naming the nearest one."""
    known = flag_types(run)
    for flag, _ in pairs:
        name = _name(flag)
        if name in known or name in ("help", "h") or is_switch(known.get(positive(name))):
            continue
        if name in TABLES:
            raise FdrlError(f"{flag} can only be set in a TOML file")
        if name.split(".")[0] in UNIONS and "." in name:
            union = name.split(".")[0]
            table = config.to_tables(run)[union]
            own = [k for k in known if k.startswith(f"{union}.")]
            near = elsewhere(name) or near_flag(name, own, f"{union}.")
            raise FdrlError(f"unknown flag {flag!r} of {union} {table.get('type')!r}{near}")
        near = near_flag(name, [*known, *UNIONS, "goal", "resume", "config", "quiet", "help"])
        raise FdrlError(f"unknown flag {flag!r}{near}")


def _flag_class(run: Run) -> type[Run]:
    """Return a `Run` class without free tables, its unions narrowed to what `run` holds."""
    import tyro

    fields: list[Any] = []
    for name in HIDDEN:
        kind = {f.name: f.type for f in msgspec.structs.fields(Run)}[name]
        fields.append((name, Annotated[kind, tyro.conf.Suppress], getattr(run, name)))
    for name in UNIONS:
        value = getattr(run, name)
        fields.append((name, type(value), value))
    fields = [(n, k, msgspec.field(default_factory=partial(_same, v))) for n, k, v in fields]
    options: dict[str, Any] = {"frozen": True, "kw_only": True}
    made: Any = msgspec.defstruct("Run", fields, bases=(Run,), **options)
    return cast("type[Run]", made)


def _same(value: Any) -> Any:
    return value


def _complaint(box: str) -> str:
    """Turn tyro's box into one line: what is wrong, without frame, title and advice."""
    blocks: list[list[str]] = [[]]
    for line in box.splitlines():
        text = line.strip("│|+╭╮╰╯─- \t")
        if text and not line.startswith("╭"):
            blocks[-1].append(text)
        elif blocks[-1]:
            blocks.append([])
    # Without box characters the title is a block of its own.
    what = blocks[0] if "╭" in box or len(blocks) < 2 else blocks[1]
    text = re.sub(r"\s+", " ", " ".join(what)) or "the flags cannot be read"
    bad = re.match(r"Error parsing (\S+): could not convert string to float: (.*)", text)
    if bad:
        return f"{bad.group(1)} takes a number such as 0.001, not {bad.group(2)}"
    other = re.match(r"invalid choice (.+) for argument '(\S+)'\. Expected one of \((.*)\)", text)
    if other:
        known = [part.strip(" '") for part in other.group(3).split(",") if part.strip()]
        return f"{other.group(2)} is one of {', '.join(known)}, not {other.group(1)}"
    missing = re.match(r"Missing value for argument '(\S+?)'", text)
    return f"{missing.group(1)} needs a value" if missing else text


def apply_flags(tables: Mapping[str, Any], words: Sequence[str]) -> Run:
    """Return the run that a config's tables and the flags after it describe, checked.

    ``--help`` prints every flag and exits.
    """
    import tyro

    chosen, pairs = choose_types(tables, words)
    run = config.parse(chosen)
    check_flags(run, pairs)
    run = _instead(run, pairs)
    kinds = flag_types(run)
    spelled = [(f, _digits(f, v, kinds.get(_name(f)))) for f, v in spell_out(pairs, kinds)]
    rest = [w for flag, values in spelled for w in (flag, *values)]
    wants_help = any(_name(f) in ("help", "h") for f, _ in pairs)
    if not rest:
        return run
    cls, caught = _flag_class(run), io.StringIO()
    default = cls(**{f.name: getattr(run, f.name) for f in msgspec.structs.fields(type(run))})
    try:
        with contextlib.ExitStack() as stack:
            if not wants_help:
                stack.enter_context(contextlib.redirect_stderr(caught))
                stack.enter_context(contextlib.redirect_stdout(caught))
            flagged = tyro.cli(
                cls,
                args=rest,
                default=default,
                use_underscores=True,
                prog="fdrl train [PRESET | FILE.toml]",
                description=COMMON.format(presets=", ".join(presets())),
                config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
            )
    except SystemExit as error:
        if wants_help or not error.code:
            raise
        raise FdrlError(f"flags: {_complaint(caught.getvalue())}") from None
    with _naming_flags(pairs):
        return _budgeted(flagged, tables, pairs)


def _instead(run: Run, pairs: Sequence[tuple[str, list[str]]]) -> Run:
    """Drop settings instead of which a flag gives another, as `fdrl.partial_tables` does."""
    names, place = {_name(flag) for flag, _ in pairs}, "strategy.distill."
    for name, other in DistillSettings.instead.items():
        if place + name in names and place + other not in names:
            usual = {other: getattr(DistillSettings(), other)}
            distill = msgspec.structs.replace(run.strategy.distill, **usual)
            strategy = msgspec.structs.replace(run.strategy, distill=distill)
            run = msgspec.structs.replace(run, strategy=strategy)
    return run


@contextlib.contextmanager
def _naming_flags(pairs: Sequence[tuple[str, list[str]]]) -> Iterator[None]:
    """Say of a complaint about a setting that a flag gave that the flag is meant."""
    try:
        yield
    except FdrlError as error:
        text = str(error)
        for flag, _ in pairs:
            place = f"(at {_name(flag)})"
            if text.startswith("config: ") and text.endswith(place):
                said = f"flags: {text.removeprefix('config: ').removesuffix(place)}(at {flag})"
                raise FdrlError(said) from None
        raise


def _digits(flag: str, values: list[str], kind: Any) -> list[str]:
    """Spell the values of a flag that takes whole numbers as digits; leave others alone."""
    if not is_whole(kind):
        return values
    return [whole(flag, value) for value in apart(flag, values, kind)]


def _budgeted(run: Run, tables: Mapping[str, Any], pairs: Sequence[tuple[str, list[str]]]) -> Run:
    """Check the run; its steps follow from ``--episodes`` unless they are given beside them.

    A preset's steps give way to ``--episodes``: they are its budget in another unit.
    """
    names = {_name(flag) for flag, _ in pairs}
    given = "steps" in names or (
        "steps" in tables and (tables.get("episodes") or "episodes" not in names)
    )
    raw = config.to_tables(run)
    if "agents" not in names and "agents" not in tables:
        del raw["agents"]  # as many as share a world, if they do
    if "proxy" not in tables and not any(n.split(".")[0] == "proxy" for n in names):
        del raw["proxy"]  # the strategy's, in a grid that fits the environment
    if not given and run.episodes:
        del raw["steps"]
    return config.parse(raw)
