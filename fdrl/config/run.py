"""One schema for TOML files, presets, command-line flags and Python.

A `Run` is frozen data that alone reproduces a run. Which classes its `agent` and `strategy`
tables have is decided by their ``type``: learners and strategies are plugins, so `run_type` builds
the concrete schema from the registry, and `parse` reads raw tables against it.
"""

from __future__ import annotations

import functools
import hashlib
import math
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, cast

import msgspec
import tomli_w

from fdrl.channels.settings import ChannelSettings, IdealChannel
from fdrl.config.budget import Goal, implied_cap, step_cap
from fdrl.config.errors import check_finite, config_error
from fdrl.config.tables import (
    PLUGINS,
    check_depth,
    comes_with_fdrl,
    merge_defaults,
    settings_class,
    type_of,
)
from fdrl.core.errors import FdrlError
from fdrl.core.registry import AGENTS, ENVS, load_object, near_settings
from fdrl.core.settings import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    convert,
)
from fdrl.proxies.settings import ProxySettings
from fdrl.vector.heterogeneity import Heterogeneity, Nothing

if TYPE_CHECKING:
    from fdrl.vector.parallel import TeamSpec


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Evaluation outside training, in environments of its own."""

    episodes: PositiveInt = 20
    """Episodes per agent in an evaluation."""
    seed: NonNegativeInt = 1_000_003
    """Seed of the evaluation episodes: the same for every method and every training seed."""
    every: NonNegativeInt = 0
    """Evaluate greedily every so many rounds as well; 0: at the end only."""


class CohortSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Agents of one architecture in a mixed federation (``[[cohorts]]`` in TOML)."""

    agents: PositiveInt
    """How many."""
    agent: dict[str, Any]
    """Their learner's table, with its ``type``."""


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that defines a training run."""

    env: str = msgspec.field(default_factory=lambda: ENVS.default().name)
    """Environment: a name from `fdrl envs`, a Gymnasium id, or "module:Id-v0"."""
    env_kwargs: dict[str, Any] = {}
    """Keyword arguments of every agent's environment."""
    agent_kwargs: tuple[dict[str, Any], ...] = ()
    """Keyword arguments of each agent's environment, one table an agent."""
    agents: PositiveInt = 10
    """How many agents learn, each in its own environment."""
    steps: PositiveInt = 40_960
    """Environment steps per agent; unset beside `episodes`: more than these can take."""
    episodes: NonNegativeInt = 0
    """Training episodes per agent, 0: no limit; what is used up first, this or `steps`, ends it."""
    goal: Goal | None = None
    """A mission that agents complete; unset: none."""
    seed: NonNegativeInt = 0
    """Root of all randomness."""
    same_init: bool | None = None
    """Start all agents from the same weights; unset: what the strategy needs."""
    networks: Literal["same", "arch", "fedhpd"] = "same"
    """One architecture for all, ten different ones in turn, or those with their learning rates."""
    hetero: Heterogeneity = msgspec.field(default_factory=Nothing)
    channel: ChannelSettings = msgspec.field(default_factory=IdealChannel)
    proxy: ProxySettings | None = None
    """Proxy set; unset: what the strategy asks for."""
    evaluation: Evaluation = Evaluation()
    agent: Any = None
    strategy: Any = None
    cohorts: tuple[CohortSettings, ...] = ()
    """Cohorts of a mixed federation; overrides `agents`, `agent` and `networks`."""
    groups: tuple[tuple[str, ...], ...] | None = None
    """Agents of a shared world that are federated with each other; unset: those of one role."""
    out: str = ""
    """Run folder; unset: runs/ENV-STRATEGY-SEED with a number if that exists."""
    checkpoint_every: NonNegativeInt = 20
    """Rounds between checkpoints; 0: only when the run ends or is interrupted."""
    device: str = "cpu"
    """Device of torch-backed learners."""
    threads: PositiveInt = 1
    """Worker processes over which the agents are spread; changes no number, only the time."""
    patience: NonNegativeFloat = 60.0
    """Seconds without an answer of a worker or environment after which it is named; 0: never."""
    patience_stop: NonNegativeFloat = 0.0
    """Seconds without an answer after which the run ends with its checkpoint; 0: never."""
    tensorboard: bool = False
    """Also write TensorBoard files into the run folder."""

    @property
    def strategy_name(self) -> str:
        """The name under which the strategy is registered."""
        return _tag(self.strategy)

    @property
    def agent_name(self) -> str:
        """The name under which the learner is registered."""
        return _tag(self.agent)


def _tag(settings: Any) -> str:
    """Return the name of a learner or strategy, whose table is but data in a config read so."""
    if isinstance(settings, Mapping):
        return str(settings["type"])
    return str(type(settings).__struct_config__.tag)


LOCAL_FIELDS = (
    "out", "checkpoint_every", "threads", "patience", "patience_stop", "tensorboard",
)  # fmt: skip
"""Fields that change no number, so runs that differ in them alone are the same run."""


def agent_settings(table: Mapping[str, Any], where: str = "agent") -> Any:
    """Convert a learner's table (with ``type``) into its settings."""
    name = str(table.get("type", AGENTS.default().name))
    cls = settings_class("agent", name)
    return _convert(merge_defaults(table, cls), cls, where)


def run_type(agent: str, strategy: str) -> type[Run]:
    """Return `Run` with the settings classes of one learner and one strategy filled in."""
    classes = settings_class("agent", agent), settings_class("strategy", strategy)
    with _LOCK:
        return _run_type(*classes)


Table = dict[str, Any]
_LOCK = threading.Lock()
"""Held around the cache, or two threads could get two classes of one run."""


@functools.cache
def _run_type(agent: Any, strategy: Any) -> type[Run]:
    """Return always the same class for the same classes, or equal runs would not compare equal."""
    classes = {"agent": agent, "strategy": strategy}
    fields = [(key, cls, msgspec.field(default_factory=cls)) for key, cls in classes.items()]
    options: dict[str, Any] = {"frozen": True, "kw_only": True, "forbid_unknown_fields": True}
    made = cast(type[Run], msgspec.defstruct("Run", fields, bases=(Run,), **options))
    made.__doc__ = Run.__doc__
    return made


def _convert(raw: Any, cls: Any, where: str = "") -> Any:
    try:
        made = convert(raw, cls)
    except msgspec.ValidationError as error:
        raise config_error(error, where, cls, raw) from None
    check_finite(made, where)
    return made


def run_class(raw: Mapping[str, Any]) -> type[Run]:
    """Return the class of the runs that raw tables describe: their learner and strategy decide."""
    return run_type(type_of(raw, "agent"), type_of(raw, "strategy"))


def type_name(raw: Mapping[str, Any], union: str) -> str:
    """Return the type that a table such as ``[channel]`` has, or would have by default."""
    if union in PLUGINS:
        return type_of(raw, union)
    table = raw.get(union)
    if table is None and union == "proxy":
        table = default_proxy(raw)
    default = Nothing if union == "hetero" else IdealChannel
    usual = str(default.__struct_config__.tag)
    return str(table.get("type", usual)) if isinstance(table, Mapping) else usual


def default_proxy(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the proxy set of raw tables that name none: the strategy's, as the world allows."""
    return _default_proxy(raw, _team(raw))


def _default_proxy(raw: Mapping[str, Any], team: TeamSpec | None) -> dict[str, Any]:
    defaults = settings_class("strategy", type_of(raw, "strategy"))
    proxy = dict(defaults.default_proxy)
    if team is None or proxy["type"] not in ("mix", "visited", "grid"):
        return proxy
    # As fine a grid as can be numbered: worlds of many agents have many components.
    widest = max(math.prod(s.shape) for s in team.observation_spaces)
    fits = max(b for b in range(1, 41) if b**widest < 2**63)
    if fits < 2:  # too many for any grid: states that are visited at random, or uniform ones
        return {"type": "rollout" if defaults.served else "uniform"}
    if fits < 40:
        proxy.setdefault("bins", min(fits, 30))
    return proxy


def parse(raw: Mapping[str, Any], *, data: bool = False) -> Run:
    """Read raw tables (as TOML gives them) into a checked `Run`; errors name the place.

    As `data`, nothing is imported or called that the tables name: learners and strategies that
    are not fdrl's own stay tables, and what only the environment knows stays unset. Such a run can
    be compared, but not trained.
    """
    check_depth(raw)
    names = {key: type_of(raw, key) for key in PLUGINS}
    classes = {
        key: settings_class(key, name)
        for key, name in names.items()
        if not data or comes_with_fdrl(key, name)
    }
    with _LOCK:
        cls = _run_type(*(classes.get(key, Table) for key in PLUGINS))
    raw = {k: v for k, v in raw.items() if v is not None}
    for key, settings in classes.items():
        if key in raw:
            raw[key] = merge_defaults(raw[key], settings)
    if raw.get("episodes") and "steps" not in raw and not data:
        raw["steps"] = _step_cap(raw)
    team = None if data else _team(raw)
    if team is not None and "agents" not in raw:
        raw["agents"] = len(team.agents)
    if "strategy" in classes:
        raw.setdefault("proxy", _default_proxy(raw, team))
        raw.setdefault("same_init", classes["strategy"].default_same_init)
    run: Run = _convert(raw, cls)
    for index, cohort in enumerate(run.cohorts):
        if not data or comes_with_fdrl("agent", type_of({"agent": cohort.agent}, "agent")):
            agent_settings(cohort.agent, f"cohorts[{index}].agent")
    if run.cohorts:
        total = sum(c.agents for c in run.cohorts)
        if raw.get("agents", total) != total:
            raise FdrlError(f"config: agents = {run.agents}, but the cohorts have {total}")
        run = msgspec.structs.replace(run, agents=total)
    if run.agent_kwargs and len(run.agent_kwargs) != run.agents:
        raise FdrlError(
            f"config: agent_kwargs has {len(run.agent_kwargs)} tables for {run.agents} agents"
        )
    return run


def _team(raw: Mapping[str, Any]) -> TeamSpec | None:
    """Return the agents that share a world of the environment; None if each has its own."""
    name, kwargs = raw.get("env", ""), raw.get("env_kwargs", {})
    if not isinstance(name, str) or not isinstance(kwargs, Mapping) or not set(name) & set(":/"):
        return None
    from fdrl.vector.parallel import team_spec  # imports Gymnasium, which most runs do without

    own: Any = raw.get("agent_kwargs") or ({},)
    first = own[0] if isinstance(own, list | tuple) and isinstance(own[0], Mapping) else {}
    return team_spec(name, {**kwargs, **first})


def _step_cap(raw: Mapping[str, Any]) -> int:
    """Return the steps that a budget of episodes alone allows; nonsense is complained of later."""
    cohorts = raw.get("cohorts") or ()
    try:
        return step_cap(raw, [c["agent"] for c in cohorts] or [raw.get("agent", {})])
    except (TypeError, ValueError, KeyError, AttributeError):
        return 1


def validated(run: Run) -> Run:
    """Check a `Run` built in code (or by flags) as `parse` checks a file."""
    return parse(to_tables(run))


class RunFields(TypedDict, total=False):
    """What `make_run` takes beside `agent` and `strategy`: the fields of a `Run`, or their tables.

    A test holds it to the fields of `Run`, where each is described.
    """

    env: str
    env_kwargs: Mapping[str, Any]
    agent_kwargs: Sequence[Mapping[str, Any]]
    agents: int
    steps: int
    episodes: int
    goal: Goal | Mapping[str, Any] | None
    seed: int
    same_init: bool | None
    networks: Literal["same", "arch", "fedhpd"]
    hetero: str | Heterogeneity | Mapping[str, Any]
    channel: str | ChannelSettings | Mapping[str, Any]
    proxy: str | ProxySettings | Mapping[str, Any] | None
    evaluation: Evaluation | Mapping[str, Any]
    cohorts: Sequence[CohortSettings | Mapping[str, Any]]
    groups: Sequence[Sequence[str]] | None
    out: str
    checkpoint_every: int
    device: str
    threads: int
    patience: float
    patience_stop: float
    tensorboard: bool


def make_run(*, agent: Any = None, strategy: Any = None, **fields: Unpack[RunFields]) -> Run:
    """Build a `Run` in Python: ``make_run(env="CartPole-v1", strategy="fd", steps=20_000)``.

    `agent`, `strategy`, `hetero`, `proxy` and `channel` may be a name, a table, or a settings
    object; `agent` and `strategy` also a settings class, one's own among them, and `agent` a model
    of Stable-Baselines3, which every agent then copies.
    """
    raw: dict[str, Any] = dict(fields)
    if isinstance(raw.get("cohorts"), list | tuple):
        raw["cohorts"] = [
            {**c, "agent": _adopted(c.get("agent"))} if isinstance(c, Mapping) else c
            for c in raw["cohorts"]
        ]
    for key, value in (("agent", _adopted(agent)), ("strategy", _named(strategy))):
        if value is not None:
            raw[key] = value
    for key in ("agent", "strategy", "hetero", "proxy", "channel"):
        if isinstance(raw.get(key), str):
            raw[key] = {"type": raw[key]}
    return parse(msgspec.to_builtins(raw))


def _named(strategy: Any) -> Any:
    """Return the table that names a settings class; names, tables and settings as they are."""
    if isinstance(strategy, type) and issubclass(strategy, msgspec.Struct):
        return {"type": str(strategy.__struct_config__.tag)}
    if strategy is None or isinstance(strategy, str | Mapping | msgspec.Struct):
        return strategy
    raise FdrlError(
        "config: a strategy is a name, a table, or settings (a subclass of fdrl.StrategySettings), "
        f"not {strategy!r}{near_settings('strategy', strategy)} (at strategy)"
    )


def _adopted(agent: Any) -> Any:
    """Return the settings of agents like a model object, or the table of a settings class.

    Names, tables and settings stay as they are.
    """
    if isinstance(agent, type) and issubclass(agent, msgspec.Struct):
        return {"type": str(agent.__struct_config__.tag)}
    if agent is None or isinstance(agent, str | Mapping | msgspec.Struct):
        return agent
    adopts = [] if isinstance(agent, type) else [spec.adopt for spec in AGENTS if spec.adopt]
    for adopt in adopts:
        settings = load_object(adopt)(agent)
        if settings is not None:
            return settings
    raise FdrlError(
        "config: an agent is a name, a table, settings (a subclass of fdrl.AgentSettings), or a "
        f"Stable-Baselines3 model, not {agent!r}{near_settings('agent', agent)} (at agent)"
    )


def to_tables(run: Run) -> dict[str, Any]:
    """Return the resolved config as plain tables, without unset (None) values."""

    def clean(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: clean(v) for k, v in value.items() if v is not None}
        if isinstance(value, list | tuple):
            return [clean(v) for v in value]
        return value

    tables = clean(msgspec.to_builtins(run))
    assert isinstance(tables, dict)
    return tables


def to_toml(run: Run) -> str:
    """Return the resolved config as TOML; `parse` reads it back to an equal `Run`."""
    return tomli_w.dumps(to_tables(run))


def digest(run: Run) -> str:
    """Return 16 hex digits that name everything in the config that changes a number."""
    tables = to_tables(run)
    for name in LOCAL_FIELDS:
        tables.pop(name, None)
    blob = msgspec.json.encode(tables, order="deterministic")
    return hashlib.sha256(blob).hexdigest()[:16]


def differences(a: Run, b: Run) -> list[str]:
    """Return the dotted names of the fields in which two runs differ, local fields aside."""

    def flat(value: Any, prefix: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            return {prefix: value}
        out: dict[str, Any] = {}
        for key, inner in value.items():
            out.update(flat(inner, f"{prefix}.{key}" if prefix else key))
        return out

    one, two = flat(to_tables(a), ""), flat(to_tables(b), "")
    names = [n for n in sorted({*one, *two}) if one.get(n) != two.get(n)]
    return [n for n in names if n.split(".")[0] not in LOCAL_FIELDS]


def chosen_steps(run: Run) -> int | None:
    """Return a run's budget of steps; None if it but follows from the one of episodes.

    Then it depends on how many copies the learner steps, and says nothing about what is learned.
    """
    if not run.episodes:
        return run.steps
    agents = [c.agent for c in run.cohorts] or [msgspec.to_builtins(run.agent)]
    raw = {"env": run.env, "env_kwargs": run.env_kwargs, "episodes": run.episodes}
    return None if run.steps == implied_cap(raw, agents, run.steps) else run.steps
