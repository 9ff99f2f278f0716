"""Names for environments, learners and strategies, and where to load them from.

Nothing is imported until it is used: an entry is a string such as ``"my_package:MyEnv"``. The
built-in ones arrive the way a user's do, through the entry-point group ``fdrl.plugins``, whose
members are functions that call `register_env`, `register_agent` or `register_strategy`.

What is in a file of one's own needs no entry: ``my_file:MyStrategy`` names the settings class of a
strategy or learner where it is defined, and that class names the rest.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from fdrl.core.errors import FdrlError, nearest, short


@dataclass(frozen=True)
class Physics:
    """One physical parameter: its default, its allowed range, and whether `dynamics` scales it.

    `conflicts` marks what an agent wants rather than what its world is: the heterogeneity
    `conflict` turns its sign.
    """

    default: float
    low: float = float("-inf")
    high: float = float("inf")
    varies: bool = True
    conflicts: bool = False


@dataclass(frozen=True)
class EnvSpec:
    """What fdrl knows about an environment beyond what Gymnasium knows.

    `vector` names a class that steps many copies at once (`fdrl.VectorEnv`), called as
    ``cls(count, params, seeds, max_steps)``; without it, real environments are stepped one by one.
    `physics` are keyword arguments of the environment (or of the vector class, one value a copy).
    `proxy_low`, `proxy_high` [O] box the states worth asking about. `init` bounds the initial
    state: a vector class that takes the parameters ``init_low, init_high`` sets it to
    ``(low, high, shift)``, and the `init` heterogeneity moves the interval by ``level*u*shift``.
    `labels`: observations are examples whose label is the right action, so returns are accuracies.
    """

    name: str
    summary: str = ""
    gym_id: str = ""
    vector: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    physics: Mapping[str, Physics] = field(default_factory=dict)
    init: tuple[float, float, float] | None = None
    max_steps: int = 0
    threshold: float | None = None
    proxy_low: tuple[float, ...] = ()
    proxy_high: tuple[float, ...] = ()
    extra: str = ""
    labels: bool = False


@dataclass(frozen=True)
class AgentSpec:
    """A learner: its settings class and a factory ``make(settings, context) -> Cohort``.

    `adopt` names a function that turns a foreign object (a model of another library) into the
    settings of agents like it, or returns None if it is none of its kind. `offers` are the values
    of its field `algorithm` by which somebody may ask for it. `abilities` are what its cohorts can
    beyond `fdrl.Cohort`, for hints: ``"values"``, ``"pooling"``, ``"labels"``. `export` names a
    function ``export(settings, parameters, envs)`` that makes an agent a model of another library.
    """

    name: str
    settings: str
    factory: str
    summary: str = ""
    adopt: str = ""
    offers: tuple[str, ...] = ()
    abilities: tuple[str, ...] = ()
    export: str = ""


@dataclass(frozen=True)
class StrategySpec:
    """A method: its settings class and its two halves, which share nothing but messages.

    `needs` is an ability that its learners must have (see `AgentSpec`). Reports list methods by
    `rank`, then by name; compare one with what it is a `variant_of`; and say how the reference
    stands to a `baseline`.
    """

    name: str
    settings: str
    client: str
    server: str
    summary: str = ""
    moves: str = ""
    needs: str = ""
    rank: int = 99
    variant_of: str = ""
    baseline: bool = False


Spec = TypeVar("Spec", EnvSpec, AgentSpec, StrategySpec)


class Registry(Generic[Spec]):
    """A table of names; reading it loads the plugins first."""

    def __init__(self, kind: str, own: Callable[[str], Spec] | None = None) -> None:
        self.kind = kind
        self._specs: dict[str, Spec] = {}
        self._own: Callable[[str], Spec] | None = own
        self._defaults: dict[str, str] = {}

    def register(self, spec: Spec, *, default: bool = False) -> None:
        """Add an entry; the same entry twice is harmless, another one of that name is an error.

        A config that names none means a `default`, of which there is one for all, and one for
        learners that have an ability (what the entry `needs`).
        """
        known = self._specs.get(spec.name)
        if known is not None and known != spec:
            raise FdrlError(f"{self.kind} {spec.name!r} is registered already, differently")
        needs = str(getattr(spec, "needs", ""))
        usual = self._defaults.get(needs, spec.name)
        if default and usual != spec.name:
            raise FdrlError(f"{self.kind} {spec.name!r} cannot be the default: that is {usual!r}")
        self._specs[spec.name] = spec
        if default:
            self._defaults[needs] = spec.name

    def spec(self, name: str) -> Spec:
        """Return the entry, or raise an error that names the nearest one.

        ``"module:Name"`` needs none, where settings classes say all that an entry would.
        """
        load_plugins()
        if name not in self._specs:
            if ":" in name and self._own is not None:
                return self._own(name)
            hint = self._offered(name) or nearest(name, self._specs)
            raise FdrlError(f"unknown {self.kind} {name!r}{hint}{not_installed()}")
        return self._specs[name]

    def default(self) -> Spec:
        """Return the entry that a config means which names none, whatever its learners can."""
        load_plugins()
        if "" not in self._defaults:
            raise FdrlError(f"no {self.kind} is the default, so a config must name one")
        return self.spec(self._defaults[""])

    def defaults(self, abilities: Iterable[str]) -> list[Spec]:
        """Return what a config may mean that names none, best first, if its learners can all that.

        The last one is `default`, which needs nothing.
        """
        found: list[Spec] = []
        for ability in sorted(abilities):
            if ability in self._defaults:
                found.append(self.spec(self._defaults[ability]))
        found.append(self.default())
        return found

    def by_default(self) -> list[Spec]:
        """Return all entries by name, the default first."""
        return sorted(self, key=lambda spec: spec.name != self._defaults.get(""))

    def _offered(self, name: str) -> str:
        """Say which learner offers an algorithm of that name; nothing if one is called nearly so.

        ``PPO`` is rather `ppo` than another library's.
        """
        if name.lower() in self._specs:
            return ""
        for spec in self:
            for offer in getattr(spec, "offers", ()):
                if offer.lower() == name.lower():
                    return f"; did you mean --agent {spec.name} --agent.algorithm {offer}?"
        return ""

    def __contains__(self, name: str) -> bool:
        load_plugins()
        return name in self._specs

    def __iter__(self) -> Iterator[Spec]:
        load_plugins()
        return iter(sorted(self._specs.values(), key=lambda s: s.name))

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return [s.name for s in self]


class SettingsType(msgspec.StructMeta):
    """The type of settings classes that say who uses them: their kind's `ATTRIBUTES`.

    They are tagged, that is called in a config, by where they are defined (``my_file:MyStrategy``),
    unless they say a `tag`.
    """

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        /,
        *,
        tag: str | None = None,
        **options: Any,
    ) -> SettingsType:
        if tag is None:
            tag = f"{_home(namespace['__module__'])}:{namespace['__qualname__']}"
        options.setdefault("kw_only", True)
        return super().__new__(mcls, name, bases, namespace, tag=tag, **options)


def _home(module: str) -> str:
    """Return the name by which a module is imported; a script's is that of its file."""
    if module not in ("__main__", "__mp_main__"):
        return module
    main = sys.modules.get("__main__")
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return str(spec.name) if spec else Path(file).stem if file else module


BASES = {"strategy": "fdrl.StrategySettings", "agent": "fdrl.AgentSettings"}
ATTRIBUTES = {"strategy": ("client", "server"), "agent": ("cohort",)}
"""What own settings derive from, and what they name, by kind."""


def _is_own(kind: str, thing: Any) -> bool:
    found = (getattr(thing, attribute, None) for attribute in ATTRIBUTES[kind])
    return isinstance(thing, SettingsType) and all(map(callable, found))


def _own_settings(kind: str, name: str) -> Any:
    """Return the settings class ``"module:Name"``, or say what else is there."""
    module, _, attribute = name.partition(":")
    if module.endswith(".py"):
        module = module.removesuffix(".py").removeprefix("./").replace("/", ".")
        raise FdrlError(
            f"{kind} {name!r} names a file instead of a module; did you mean "
            f"{f'{module}:{attribute}'!r}?"
        )
    if "<locals>" in attribute:
        raise FdrlError(
            f"{kind} {attribute.rpartition('.')[2]!r} is defined inside a function: move it to the "
            f"top of {module!r}, where a resumed run can find it"
        )
    try:
        found = load_object(name)
    except FdrlError:
        raise
    except Exception as error:  # whatever goes wrong in somebody's own module
        raise FdrlError(
            f"{kind} {name!r} could not be imported: {type(error).__name__}: {short(error)}"
        ) from error
    if not _is_own(kind, found):
        for other in BASES:
            if _is_own(other, found):
                raise FdrlError(f"{name!r} is no {kind} but a kind of {other}: --{other} {name}")
        raise FdrlError(
            f"{kind} {name!r} is {short(repr(found), 80)}, but must be a subclass of {BASES[kind]} "
            f"that names its {' and '.join(ATTRIBUTES[kind])}{_near(kind, module, attribute)}"
        )
    tag = str(found.__struct_config__.tag)
    if tag != name:
        ask = f"did you mean {tag!r}?" if ":" in tag else "register it under that name, or drop it"
        raise FdrlError(f"{kind} {name!r} is called {tag!r} by its own tag; {ask}")
    return found


def near_settings(kind: str, thing: Any) -> str:
    """Name the settings of a kind that are defined beside a thing; "" if there are none."""
    module, name = getattr(thing, "__module__", ""), getattr(thing, "__qualname__", "")
    return _near(kind, _home(module), name) if module in sys.modules else ""


def _near(kind: str, module: str, attribute: str) -> str:
    """Name the settings of a kind that a module defines, the nearest if there are several."""
    here = vars(sys.modules.get(module) or sys.modules["__main__"])
    own = {n: thing for n, thing in here.items() if _is_own(kind, thing)}
    held = [n for n, thing in own.items() if thing.__module__ == here["__name__"]]
    return f"; did you mean {held[0]!r}?" if len(held) == 1 else nearest(attribute, held)


def _own_agent(name: str) -> AgentSpec:
    about = _about(_own_settings("agent", name))
    return AgentSpec(name, settings=name, factory=f"{name}.cohort", summary=about)


def _own_strategy(name: str) -> StrategySpec:
    about = _about(_own_settings("strategy", name))
    return StrategySpec(name, name, f"{name}.client", f"{name}.server", summary=about)


def _about(thing: Any) -> str:
    """Return the first line of a docstring."""
    return (thing.__doc__ or "").strip().partition("\n")[0]


ENVS: Registry[EnvSpec] = Registry("environment")
AGENTS: Registry[AgentSpec] = Registry("agent", _own_agent)
STRATEGIES: Registry[StrategySpec] = Registry("strategy", _own_strategy)


PARALLEL: dict[str, str] = {}
"""PettingZoo ids of worlds that several agents share, and the module whose import registers each.
"""


def register_parallel(name: str, module: str) -> None:
    """Name the module that registers a parallel environment with PettingZoo when it is imported."""
    PARALLEL[name] = module


def register_env(name: str, *, default: bool = False, **fields: Any) -> None:
    """Register an environment under `name`; the fields are those of `EnvSpec`.

    `default`: a config that names no environment means this one.
    """
    ENVS.register(EnvSpec(name=name, **fields), default=default)


def register_agent(
    name: str,
    *,
    settings: str,
    factory: str = "",
    summary: str = "",
    adopt: str = "",
    offers: tuple[str, ...] = (),
    abilities: tuple[str, ...] = (),
    export: str = "",
    default: bool = False,
) -> None:
    """Register a learner.

    `settings` (a `fdrl.core.settings.LearnerSettings`), `factory`, `adopt` and `export` are
    ``"module:attribute"`` strings; see `AgentSpec`. Without a `factory`, it is the `cohort` of the
    settings. `default`: a config that names no learner means this one.
    """
    factory = factory or f"{settings}.cohort"
    spec = AgentSpec(name, settings, factory, summary, adopt, offers, abilities, export)
    AGENTS.register(spec, default=default)


def able(ability: str) -> str:
    """Name the learners that say they have an ability, the default one first: ``x or y``."""
    return " or ".join(s.name for s in AGENTS.by_default() if ability in s.abilities)


def labeled_example() -> str:
    """Return flags of a learner and an environment that have labeled samples, for hints."""
    env = next((spec.name for spec in ENVS if spec.labels), "of your own")
    return f"--agent {able('labels')} and --env {env}"


def register_strategy(
    name: str,
    *,
    settings: str,
    client: str = "",
    server: str = "",
    summary: str = "",
    moves: str = "",
    default: bool = False,
    **more: Any,
) -> None:
    """Register a method; `settings`, `client`, `server` are ``"module:attribute"`` strings.

    `settings` are a `fdrl.core.settings.Exchange`; without halves, they are the `client` and
    `server` of the settings. `more` are the other fields of `StrategySpec`. `default`: a config
    that names no method means this one.
    """
    client, server = client or f"{settings}.client", server or f"{settings}.server"
    spec = StrategySpec(name, settings, client, server, summary, moves, **more)
    STRATEGIES.register(spec, default=default)


def load_object(entry_point: str) -> Any:
    """Import ``"module:attribute"`` (or ``"module:Class.attribute"``); errors name what is missing.

    A script that is running is not imported a second time under its own name.
    """
    module_name, _, attribute = entry_point.partition(":")
    running = module_name not in sys.modules and module_name == _home("__main__")
    try:
        module = importlib.import_module("__main__" if running else module_name)
    except ModuleNotFoundError as error:
        raise FdrlError(f"cannot import {module_name!r} (of {entry_point!r}): {error}") from error
    try:
        return attrgetter(attribute)(module)
    except AttributeError:
        hint = nearest(attribute, [n for n in vars(module) if not n.startswith("_")])
        raise FdrlError(f"module {module_name!r} has no {attribute!r}{hint}") from None


def not_installed() -> str:
    """Say so if the current folder is a project with plugins that may not be installed."""
    try:
        project = Path("pyproject.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    name = re.search(r'^name = "([\w.-]+)"', project, re.MULTILINE)
    if "fdrl.plugins" not in project or name is None or name[1] == "fdrl":
        return ""
    try:
        importlib.metadata.distribution(name[1])
    except importlib.metadata.PackageNotFoundError:
        return "; the project in this folder is not installed yet: pip install -e ."
    return ""


_loaded = False


def load_plugins() -> None:
    """Call every function in the entry-point group ``fdrl.plugins``, once per process."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    load_object("fdrl.strategies:register")()
    for entry in importlib.metadata.entry_points(group="fdrl.plugins"):
        try:
            entry.load()()
        except Exception as error:  # somebody else's package must not stop this one
            warnings.warn(f"plugin {entry.name!r} ({entry.value}) failed: {error}", stacklevel=2)
