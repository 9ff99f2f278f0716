"""`check_strategy`: what every method must keep to, tried on a small real federation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from fdrl.config.run import make_run
from fdrl.core.arrays import Array
from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import Message
from fdrl.core.records import WALL_CLOCK
from fdrl.core.registry import AGENTS, STRATEGIES, load_object
from fdrl.core.settings import Exchange, LearnerSettings
from fdrl.core.transport import Failure, Reply
from fdrl.federation.loop import Federation
from fdrl.wire.codec import decode, encode

STEPS = 3 * 256


def check_strategy(name: str | type[Exchange], **fields: Any) -> None:
    """Raise `FdrlError` naming the broken rule if a strategy does not keep to them.

    `name` is what it is registered as, ``my_file:MyStrategy`` if it is in a file of one's own, or
    its settings class. `fields` are those of `fdrl.make_run` (environment, agents, proxy, ...;
    `strategy` for settings of its own); three default agents learn in the default environment. The
    rules: its settings are a frozen tagged Struct; uploads survive encoding; the server accepts
    them, and refuses another round's and garbage with a reason; it does not depend on the order of
    replies and bears silence; resuming equals never stopping; and equal seeds give equal results.
    """
    name = name if isinstance(name, str) else str(name.__struct_config__.tag)
    spec = STRATEGIES.spec(name)
    _settings(name, load_object(spec.settings))
    learner: LearnerSettings = load_object(AGENTS.default().settings)()
    options = {"agents": 3, "steps": STEPS, "seed": 5, "agent": learner.quick()}
    given: dict[str, Any] = {"strategy": name} | options | fields
    run = make_run(**given)
    federations = [Federation(run) for _ in range(3)]
    try:
        first, second, third = federations
        one = _records(first)
        _must(one == _records(second), name, "the same seed gives different records")
        third.load_state(_after_one_round(run))
        _must(one[1:] == _records(third), name, "resuming differs from never having stopped")
        _must(_finite(first), name, "parameters are not finite after three rounds")
    finally:
        for federation in federations:
            federation.close()
    _messages(name, run)


def _must(ok: bool, name: str, rule: str) -> None:
    if not ok:
        raise FdrlError(f"strategy {name!r}: {rule}")


def _settings(name: str, cls: Any) -> None:
    is_struct = isinstance(cls, type) and issubclass(cls, Exchange)
    _must(is_struct, name, "its settings must derive from fdrl.core.settings.Exchange")
    config = cls.__struct_config__
    _must(config.frozen, name, "its settings must be frozen")
    _must(config.tag == name, name, f"its settings are tagged {config.tag!r}, not {name!r}")
    for attribute in ("default_proxy", "default_same_init"):
        _must(hasattr(cls, attribute), name, f"its settings lack the class variable {attribute}")


def _records(federation: Federation) -> list[dict[str, Any]]:
    found = []
    while not federation.done:
        record = msgspec.to_builtins(federation.round())
        found.append({k: v for k, v in record.items() if k not in WALL_CLOCK})
    return found


def _after_one_round(run: Any) -> dict[str, Array]:
    federation = Federation(run)
    try:
        federation.round()
        return federation.state()
    finally:
        federation.close()


def _finite(federation: Federation) -> bool:
    return all(np.isfinite(c.cohort.parameters("all")).all() for c in federation.clients)


def _messages(name: str, run: Any) -> None:
    """Try the server half alone on real uploads, with nothing but bytes in between."""
    federation = Federation(run)
    try:
        opening = federation.server.announce()
        federation.transport.tell(0, opening)
        ids = federation.ids
        uploads = federation.transport.ask(1)
        sent = {a: m for a, m in uploads.items() if isinstance(m, bytes) and m}
        for agent, data in sent.items():
            _must(encode(decode(data)) == data, name, "an upload changes when it is decoded")
            _refuses_old(name, federation, agent, data)
        _server(name, run, sent, ids)
    finally:
        federation.close()


def _refuses_old(name: str, federation: Federation, agent: str, data: bytes) -> None:
    message: Message = decode(data)
    late = replace(message, round=7)
    for bad, what in ((late, "another round's upload"), (None, "garbage")):
        try:
            checked = decode(b"\x00garbage") if bad is None else bad
            federation.server.half.check(checked, agent, 1)
        except BadMessage as error:
            _must(bool(str(error)), name, f"it refuses {what} without a reason")
        else:
            raise FdrlError(f"strategy {name!r}: its server accepts {what}")


def _server(name: str, run: Any, sent: Mapping[str, bytes], ids: tuple[str, ...]) -> None:
    """Each trial has a server of its own, since servers may keep state."""

    def answer(change: Callable[[dict[str, Reply]], dict[str, Reply]]) -> Any:
        federation = Federation(run)
        try:
            full: dict[str, Reply] = {a: sent.get(a, b"") for a in ids}
            out = federation.server.aggregate(1, change(full))
            return out, federation.server.rejected
        finally:
            federation.close()

    straight, rejected = answer(lambda r: r)
    _must(not rejected, name, f"its server refuses its own client's upload: {rejected}")
    if not sent:
        return
    _, rejected = answer(lambda r: r | {ids[0]: b"\x00garbage", ids[1]: Failure("timeout")})
    _must(len(rejected) == 2, name, "bad replies are not reported")
    one, other = (_half_alone(run, sent, turn) for turn in (list, lambda x: list(reversed(x))))
    _must(one == other, name, "the result depends on the order of replies")
    nothing, _ = answer(lambda r: {a: Failure("timeout") for a in r})
    _must(not nothing or bool(straight), name, "it invents messages when nobody answers")


def _half_alone(run: Any, sent: Mapping[str, bytes], order: Callable[[Any], Any]) -> Any:
    """Aggregate with a bare server half, which must take agents in the order of their ids."""
    federation = Federation(run)
    try:
        messages = {agent: decode(sent[agent]) for agent in order(list(sent))}
        out = federation.server.half.aggregate(1, messages)
        return {agent: encode(message) for agent, message in sorted(out.items())}
    finally:
        federation.close()
