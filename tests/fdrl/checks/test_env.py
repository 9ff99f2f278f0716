"""What check calls an error training refuses, and nothing else; both say the same of a world."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import zoo
from messages import says

from fdrl import FdrlError, Federation, make_run
from fdrl.checks.env import Finding, check_env, check_parallel_env
from fdrl.core import errors
from fdrl.vector import contract

AGENT = {"type": "ppo", "n_envs": 1, "n_steps": 8, "batch_size": 8, "n_epochs": 1, "hidden": [4]}
LIMIT = {"max_episode_steps": 9}


@contextmanager
def noted(patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield the notes that are said inside, as if nothing had been said before."""
    said: list[str] = []
    patch.setattr(errors, "_SAID", set())
    patch.setattr(contract, "PROBE", 200)  # steps that endless worlds are tried for
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield said
        finally:
            said += [str(w.message) for w in caught if issubclass(w.category, errors.Notice)]


def trained(patch: pytest.MonkeyPatch, env: str, kwargs: dict[str, Any]) -> tuple[str, list[str]]:
    """Train and evaluate; return what refused it, or "", and the notes that were said."""
    with noted(patch) as notes:
        try:
            run = make_run(
                env=env, env_kwargs=kwargs, agents=2, steps=16, agent=AGENT, strategy="fd",
                proxy={"type": "sobol", "size": 4}, evaluation={"episodes": 1},
            )  # fmt: skip
            federation = Federation(run)
            try:
                while not federation.done:
                    federation.round()
                assert len(federation.summary().returns) == 2
            finally:
                federation.close()
        except FdrlError as error:
            return str(error), notes
    return "", notes


def agree(
    patch: pytest.MonkeyPatch, env: str, findings: list[Finding], kwargs: dict[str, Any],
    outcome: str, facts: tuple[Any, ...],
) -> None:  # fmt: skip
    refused, notes = trained(patch, env, kwargs)
    wrong = {level: [f.message for f in findings if f.level == level] for level in
             ("error", "warning")}  # fmt: skip
    assert (bool(refused), bool(wrong["error"])) == (outcome == "refused",) * 2, (refused, findings)
    if outcome == "refused":
        says(refused, repr(env) if repr(env) in refused else env, *facts)
        assert "\n" not in refused
        says(" ".join(wrong["error"]), *facts)
    elif outcome == "warned":
        assert wrong["warning"]
        if facts:
            says("\n".join(notes), repr(env), *facts)
            says("\n".join(wrong["warning"]), *facts)
    else:
        assert (notes, wrong["warning"]) == ([], [])


@pytest.mark.parametrize("name", zoo.CARTS)
def test_check_and_training_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env, kwargs = f"zoo:{name}", LIMIT if getattr(getattr(zoo, name), "limited", True) else {}
    with noted(monkeypatch):
        findings = check_env(env, **kwargs)
    agree(monkeypatch, env, findings, kwargs, *zoo.CARTS[name])


@pytest.mark.parametrize("name", zoo.DUOS)
def test_check_and_training_agree_of_worlds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = f"zoo:{name}"
    with noted(monkeypatch):
        findings = check_parallel_env(env)
    agree(monkeypatch, env, findings, {}, *zoo.DUOS[name])


def test_a_limit_ends_the_episodes_of_an_endless_world(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained(monkeypatch, "zoo:EndlessDuo", {"max_episode_steps": 4}) == ("", [])
    levels = {f.level for f in check_parallel_env("zoo:EndlessDuo", max_episode_steps=4)}
    assert levels == {"ok"}
