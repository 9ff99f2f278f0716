"""Flags for every field of a `Run`: ``--steps 5000 --agent.lr 1e-3 --strategy fedavg``.

tyro builds them from the same classes that read TOML. Which classes those are is decided first, by
bare names (``--agent ppo``); a flag nobody knows is answered here, with the nearest one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, cast, get_args, get_origin

import msgspec
import tyro

from fdrl.cli import options
from fdrl.cli.options import is_flag, is_switch, name_of, positive
from fdrl.config.run import Run, default_proxy, parse, run_class, type_name
from fdrl.config.tables import presets
from fdrl.core.errors import FdrlError, nearest
from fdrl.core.registry import AGENTS, STRATEGIES, load_object
from fdrl.core.settings import DistillSettings

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
  --trust              with --resume: import what DIR names although it is not registered
  --env_kwargs.NAME V  keyword argument of the environment; max_episode_steps: its time limit
  --quiet              print one line at the end

All settings, with the values of this config as their defaults:"""


def _pairs(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Group words into (flag, its values); ``--x=1`` counts as ``--x 1``."""
    out: list[tuple[str, list[str]]] = []
    for word in words:
        if is_flag(word):
            flag, equals, value = word.partition("=")
            out.append((flag, [value] if equals else []))
        elif out:
            out[-1][1].append(word)
        else:
            raise FdrlError(f"unexpected argument {word!r} (PRESET or FILE.toml comes first)")
    return out


def _words(flag: str, values: Sequence[str]) -> list[str]:
    """Return the words of a flag and its values; one that looks like a flag stays behind ``=``."""
    if len(values) == 1 and is_flag(values[0]):
        return [f"{flag}={values[0]}"]
    return [flag, *values]


def _one(flag: str, values: Sequence[str]) -> str:
    if len(values) != 1:
        got = f"{len(values)} values" if values else "none"
        raise FdrlError(f"flag {flag} takes one value, got {got}")
    return values[0]


def _table_value(text: str) -> Any:
    """Read a value as TOML would (numbers, true, lists, quoted text); else as plain text."""
    try:
        return msgspec.toml.decode(f"value = {text}")["value"]
    except (msgspec.DecodeError, ValueError, RecursionError, KeyError):
        return text


def flag_types(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dotted names of all flags beside a config's tables, and their annotations.

    Which types the tables choose, or would by default, decides. Raises `FdrlError` for no type.
    """
    defaults = {"proxy": default_proxy(tables)}

    def below(cls: type[msgspec.Struct], table: Any, prefix: str) -> dict[str, Any]:
        names: dict[str, Any] = {}
        for field in msgspec.structs.fields(cls):
            name, inner = prefix + field.name, structs_in(field.type)
            given = table.get(field.name) if isinstance(table, Mapping) else None
            if name in HIDDEN:
                continue
            if not inner:
                names[name] = field.type
                continue
            chosen = given if given is not None else defaults.get(name)
            names |= below(_member(inner, field, chosen), given, f"{name}.")
        return names

    return below(run_class(tables), tables, "")


def _member(
    members: Sequence[type[msgspec.Struct]], field: msgspec.structs.FieldInfo, table: Any
) -> type[msgspec.Struct]:
    """Return which of a field's classes its table means; without a table, what it is by default."""
    if len(members) == 1:
        return members[0]
    if isinstance(table, Mapping):
        named = [m for m in members if m.__struct_config__.tag == table.get("type")]
        return named[0] if named else members[0]  # of no type: said where the config is read
    made = field.default_factory() if callable(field.default_factory) else field.default
    return type(made) if isinstance(made, msgspec.Struct) else members[0]


def env_kwargs(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Take ``--env_kwargs.NAME VALUE`` out of words; return the arguments, and what is left."""
    found: dict[str, Any] = {}
    rest, left = [], list(words)
    while left:
        word = left.pop(0)
        flag, equals, value = word.partition("=")
        if not (is_flag(word) and name_of(word).startswith("env_kwargs.")):
            rest.append(word)
            continue
        more = next((i for i, w in enumerate(left) if is_flag(w)), len(left))
        values = [value] if equals else left[: min(more, 1)]
        del left[: 0 if equals else len(values)]
        found[flag.lstrip("-").partition(".")[2]] = _table_value(_one(flag, values))
    return found, rest


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
        name = name_of(flag)
        union = name.removesuffix(".type")
        if union in UNIONS:
            table = chosen.get(union, {})
            new = _one(flag, values)
            if not isinstance(table, Mapping) or table.get("type") != new:
                chosen[union] = {"type": new}
        elif name.partition(".")[0] in ("env_kwargs", "goal") and name != "env_kwargs":
            table, key = name.partition(".")[0], flag.lstrip("-").partition(".")[2]
            given = {key or "mean": _table_value(_one(flag, values))}
            chosen[table] = {**_table(chosen, table), **given}
        else:
            rest.append((flag, values))
    if chosen.get("cohorts") and any(name_of(f) == "agent" for f in words if is_flag(f)):
        raise FdrlError("--agent has no effect here: the config's cohorts name their own learners")
    return chosen, rest


def _table(tables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    known = tables.get(name, {})
    if not isinstance(known, Mapping):
        raise FdrlError(f"config: {name} must be a table: [{name}], not {known!r}")
    return known


def check_flags(
    known: Mapping[str, Any], tables: Mapping[str, Any], pairs: Sequence[tuple[str, list[str]]]
) -> None:
    """Raise for a flag that is none of the `known` ones, naming the nearest."""
    for flag, _ in pairs:
        name = name_of(flag)
        if name in TABLES or is_table(known.get(name)):
            raise FdrlError(f"{flag} can only be set in a TOML file")
        if name in known or is_switch(known.get(positive(name))):
            continue
        if name.split(".")[0] in UNIONS and "." in name:
            union = name.split(".")[0]
            own = [k for k in known if k.startswith(f"{union}.")]
            near = elsewhere(name) or near_flag(name, own, f"{union}.")
            kind = type_name(tables, union)
            raise FdrlError(f"unknown flag {flag!r} of {union} {kind!r}{near}")
        near = near_flag(name, [*known, *UNIONS, *OURS])
        raise FdrlError(f"unknown flag {flag!r}{near}")


def apply_flags(tables: Mapping[str, Any], words: Sequence[str]) -> Run:
    """Return the run that a config's tables and the flags after it describe, checked.

    ``--help`` prints every flag and exits.
    """
    if options.wants_help(words):
        asked = [w for w in words if w not in ("--help", "-h")]
        _show(parse(choose_types(tables, asked)[0]))
    chosen, pairs = choose_types(tables, words)
    known = flag_types(chosen)
    check_flags(known, chosen, pairs)
    found = options.given(known, [w for pair in pairs for w in _words(*pair)])
    with options.naming_flags([flag for flag, _ in pairs]):
        return parse(_laid_over(chosen, found))


def _laid_over(tables: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config's tables with what the flags say; a flag of None unsets.

    A preset's steps give way to ``--episodes``: they are its budget in another unit.
    """
    raw = dict(tables)
    if found.get("episodes") and not tables.get("episodes"):
        raw.pop("steps", None)
    for name, value in found.items():
        *path, last = name.split(".")
        table = raw
        for key in path:
            inner = dict(_table(table, key))
            if not inner and key in UNIONS and key == name.split(".")[0]:
                inner = _usual(tables, key)
            table[key] = table = inner
        table.pop(last, None)
        if value is not None:
            table[last] = value
    # What is given instead of another setting (see `fdrl.config.run`) stands alone.
    place = "strategy.distill."
    for name, other in DistillSettings.instead.items():
        if place + name in found and place + other not in found:
            raw["strategy"]["distill"].pop(other, None)
    return raw


def _usual(tables: Mapping[str, Any], union: str) -> dict[str, Any]:
    """Return the table that a union has where the config says nothing of it."""
    if union == "proxy":
        return default_proxy(tables)
    return {"type": type_name(tables, union)}


def _show(run: Run) -> None:
    """Print every flag, with a run's settings as defaults, and exit."""
    options.widen()
    cls = _flag_class(run)
    tyro.cli(
        cls, args=["--help"], use_underscores=True, prog="fdrl train [PRESET | FILE.toml]",
        default=cls(**{f.name: getattr(run, f.name) for f in msgspec.structs.fields(type(run))}),
        description=COMMON.format(presets=", ".join(presets())),
        config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff), registry=options.RULES,
    )  # fmt: skip


def _flag_class(run: Run) -> type[Run]:
    """Return a `Run` class without free tables, its unions narrowed to what `run` holds."""
    fields: list[Any] = []
    for name in HIDDEN:
        kind = {f.name: f.type for f in msgspec.structs.fields(Run)}[name]
        fields.append((name, Annotated[kind, tyro.conf.Suppress], getattr(run, name)))
    for name in UNIONS:
        value = getattr(run, name)
        fields.append((name, type(value), value))
    fields = [(n, k, msgspec.field(default_factory=partial(_same, v))) for n, k, v in fields]
    made: Any = msgspec.defstruct("Run", fields, bases=(Run,), frozen=True, kw_only=True)
    return cast("type[Run]", made)


def _same(value: Any) -> Any:
    return value


# ---- Where a flag that nobody knows may have been meant for ----


UNIONS = ("agent", "strategy", "hetero", "proxy", "channel")
OURS = ("goal", "resume", "config", "quiet", "trust", "help")
"""Flags that are no settings."""
TABLES = ("env_kwargs", "agent_kwargs", "cohorts")
"""Fields of free shape: TOML only, but for ``--env_kwargs.NAME VALUE``."""
HIDDEN = (*TABLES, "goal", "groups")
"""Fields whose flags tyro does not read: the goal and the groups may be unset."""

ALIASES = {
    "lr": "learning_rate",
    "layers": "hidden",
    "net_arch": "hidden",
    "num_agents": "agents",
    "n_agents": "agents",
    "total_timesteps": "steps",
    "timesteps": "steps",
    "num_steps": "steps",
    "output": "out",
    "dir": "out",
    "environment": "env",
    "algo": "agent",
    "algorithm": "agent",
    "method": "strategy",
    "entropy": "ent_coef",
}
"""What others call a setting, and its name here."""


def near_flag(name: str, known: Sequence[str], table: str = "") -> str:
    """Return the nearest flag (of a table such as ``agent.``) to a name.

    Dashes and tables are alike in all of them, so only the rest is compared; a list of all flags
    is what ``--help`` is for.
    """
    if not known:
        return "; it has no settings"
    hint = nearest(name.removeprefix(table), [k.removeprefix(table) for k in known])
    usual = ALIASES.get(name.removeprefix(table).rpartition(".")[2])
    meant = [k for k in known if usual and k.removeprefix(table).rpartition(".")[2] == usual]
    if meant:
        return f"; did you mean '--{meant[0]}'?"
    if "did you mean" not in hint:
        return " (fdrl train --help lists all flags)"
    return hint.replace("mean '", f"mean '--{table}")


def elsewhere(name: str) -> str:
    """Say which other types of a union have the setting ``strategy.visit_power``."""
    union, _, field = name.partition(".")
    have = [t for t, fields in _types_of(union) if field in fields]
    if not have:
        return ""
    which = " and ".join(filter(None, (", ".join(have[:-1]), have[-1])))
    text = f"; {which} {'has' if len(have) == 1 else 'have'} that setting"
    if union != "hetero":
        return text
    # By default agents do not differ: who names a level has not been told of kinds yet.
    kind = "dynamics" if "dynamics" in have else have[0]
    return f"{text}: say which, as in --hetero {kind} --{name} VALUE"


def every_flag() -> dict[str, Any]:
    """Return the dotted names of the settings of all types of all tables, and their annotations."""
    found: dict[str, Any] = {}
    for name, kind in _fields(Run, "").items():
        union = name.partition(".")[0]
        if union not in UNIONS and name not in HIDDEN and not name.startswith("goal."):
            found[name] = kind
    for union in UNIONS:
        for _, fields in reversed(_types_of(union)):
            found |= {f"{union}.{name}": kind for name, kind in fields.items()}
    return {name: kind for name, kind in found.items() if not is_table(kind)}


def is_table(kind: Any) -> bool:
    """Say whether an annotation is a table of free shape, which no flag can set."""
    return any(get_origin(part) is dict for part in (kind, *get_args(kind)))


def names_of(union: str) -> list[str]:
    """Return the types that a table such as ``[strategy]`` can have."""
    return [name for name, _ in _types_of(union)]


def _types_of(union: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the types of a union, each with the dotted names of its settings and their kinds."""
    if union in ("agent", "strategy"):
        specs = [*(AGENTS if union == "agent" else STRATEGIES)]
        classes = [(s.name, load_object(s.settings)) for s in specs]
    else:
        kind = {f.name: f.type for f in msgspec.structs.fields(Run)}[union]
        classes = [(str(c.__struct_config__.tag), c) for c in structs_in(kind)]
    return [(tag, _fields(cls, "")) for tag, cls in classes]


def _fields(cls: Any, prefix: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for field in msgspec.structs.fields(cls):
        inner = structs_in(field.type)
        for struct in inner:
            names |= _fields(struct, f"{prefix}{field.name}.")
        names |= {} if inner else {prefix + field.name: field.type}
    return names


def structs_in(kind: Any) -> list[type[msgspec.Struct]]:
    """Return the Struct classes in an annotation such as ``A | B | None``."""
    parts = [p for t in (get_args(kind) or (kind,)) for p in (get_args(t) or (t,))]
    return [t for t in parts if isinstance(t, type) and issubclass(t, msgspec.Struct)]
