"""Where a flag that nobody knows may have been meant for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args, get_origin

import msgspec

from fdrl.config import Run
from fdrl.errors import nearest
from fdrl.registry import AGENTS, STRATEGIES, load_object

UNIONS = ("agent", "strategy", "hetero", "proxy", "channel")
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
