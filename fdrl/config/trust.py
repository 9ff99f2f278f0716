"""What of a config may be imported: a run folder is data until somebody vouches for it.

A config names an environment, learners and a strategy, and ``module:callable`` names them by what
is to be imported. Who types such a name, or a file that has it, asks for that. A run folder may
come from a stranger, so what one names must be registered: come with fdrl, stand in Gymnasium's
or PettingZoo's registry, or belong to an installed plugin. Anything else needs ``--trust``, but
for runs that this user began here, which are remembered outside of them.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from fdrl.config.run import LOCAL_FIELDS, Run, to_tables
from fdrl.config.tables import PLUGINS, settings_class
from fdrl.core.errors import FdrlError, short
from fdrl.core.files import make_folder, open_file, read_file, write_all
from fdrl.core.paths import absolute
from fdrl.core.registry import ENVS

Place = tuple[str | int, ...]
"""Where in nested tables: ``("cohorts", 0, "agent", "type")``."""

_NAME = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")
"""What `fdrl.core.registry.load_object` would import, wherever it stands."""
_ID = re.compile(r"[^\W\d][\w.]*:.*", re.DOTALL)
"""What `gymnasium.make` would import a module for, in the arguments of environments that call it.
"""
_CLASS = re.compile(r"([\w.]+):[A-Z]\w*")
_WORDS = ("groups", "out", "device", "networks")
"""Fields whose text is never imported."""


def unregistered(tables: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the place and the name of everything in a config that would have to be imported.

    Nothing is: what is looked at are the registries, and the settings of registered learners.
    """
    for place, text in texts(tables, ()):
        own = place[2:] if place[0] == "cohorts" else place
        if own == ("env",):
            known = ":" not in text or text in ENVS
        elif len(own) == 2 and own[0] in PLUGINS and own[1] == "type":
            known = ":" not in text or text in PLUGINS[str(own[0])][0]
        else:
            form = _ID if place[0] in ("env_kwargs", "agent_kwargs") else _NAME
            said = place[0] in _WORDS or not form.fullmatch(text)
            known = said or (own[:1] == ("agent",) and _may(tables, place, text))
        if not known:
            yield _written(place), text


def texts(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """Yield every text in nested tables, and where it stands."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from texts(inner, (*place, name))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from texts(inner, (*place, index))
    elif isinstance(value, str):
        yield place, value


def _written(place: Place) -> str:
    words = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return "".join(words).removeprefix(".")


def _may(tables: Any, place: Place, text: str) -> bool:
    """Say whether it is a class that the settings of a registered learner may name."""
    for part in place[: place.index("agent") + 1]:
        tables = tables[part]
    registry = PLUGINS["agent"][0]
    kind = str(tables.get("type", registry.default().name)) if isinstance(tables, Mapping) else ""
    name = _CLASS.fullmatch(text)
    if name is None or kind not in registry:
        return False
    modules = settings_class("agent", kind).may_name
    return any(f"{name[1]}.".startswith(f"{module}.") for module in modules)


def check_trusted(
    folder: str | Path, tables: Mapping[str, Any], said: Collection[tuple[str, str]] = ()
) -> None:
    """Raise `FdrlError` if a run folder's config names what is not registered.

    `said` are the places and names that the user gave, too. Runs that were begun here are trusted.
    """
    for place, name in unregistered(tables):
        if (place.removesuffix(".type"), name) not in said and not begun_here(folder, tables):
            raise FdrlError(
                f"{folder}: {place} = {short(name, 80)!r} is not registered, and nothing that a "
                "run folder names is imported unasked; if you trust who made it: --trust "
                "(trust=True in Python)"
            )


# ---- The user's own runs: whoever typed a name here once need not vouch for it again ----

REMEMBERED = "own-runs"
"""The file of their digests, in the user's folder for the state of programs."""


def remember(folder: str | Path, tables: Mapping[str, Any]) -> None:
    """Note that this user began a run here, if it names what is not registered.

    Where nothing can be noted (no home, a full disk), its folder needs ``--trust`` as any other.
    """
    if next(unregistered(tables), None) is None:
        return
    path = _memory()
    with suppress(OSError, FdrlError):
        make_folder(path.parent)
        file = open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.chmod(path, 0o600)  # nobody else may vouch for runs
            write_all(file, f"{_mark(folder, tables)}\n".encode())
        finally:
            os.close(file)


def begun_here(folder: str | Path, tables: Mapping[str, Any]) -> bool:
    """Say whether this user began this very run, in this place and of this config."""
    with suppress(FdrlError):
        return _mark(folder, tables).encode() in read_file(_memory()).split()
    return False


def _memory() -> Path:
    """Return where own runs are remembered: ``$FDRL_STATE``, or by the XDG specification."""
    own, state = os.environ.get("FDRL_STATE"), os.environ.get("XDG_STATE_HOME")
    if own:
        return Path(own) / REMEMBERED
    return Path(state or os.path.expanduser("~/.local/state")) / "fdrl" / REMEMBERED


def _mark(folder: str | Path, tables: Mapping[str, Any]) -> str:
    """Return the digest of a place and a config, but for what changes no number."""
    told = {key: value for key, value in tables.items() if key not in LOCAL_FIELDS}
    place = os.path.realpath(absolute(folder))
    words = msgspec.json.encode([place, told], order="deterministic")
    return hashlib.sha256(words).hexdigest()


def same_names(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Say whether all that one config would import, the other one would too."""
    return set(unregistered(one)) <= set(unregistered(two))


def command(words: str, folder: str | Path, run: Run | None = None, more: str = "") -> str:
    """Return a command on a run folder, to be pasted: quoted, with ``--trust`` if `run` needs it.

    A run that was begun here does not.

    >>> command("fdrl eval", "my run")
    "fdrl eval 'my run'"
    """
    path = f"./{folder}" if str(folder).startswith("-") else str(folder)
    tables = {} if run is None else to_tables(run)
    needed = next(unregistered(tables), None) is not None and not begun_here(folder, tables)
    return " ".join(filter(None, (words, shlex.quote(path), more, "--trust" * needed)))
