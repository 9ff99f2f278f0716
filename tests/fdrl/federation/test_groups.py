"""Where two kinds of thing meet that do not go together: one line says so, and nothing starts."""

from __future__ import annotations

from typing import Any

import pytest

from fdrl import FdrlError, Federation, make_run, train, train_packed
from fdrl.core.errors import Notice

AIR = {"type": "mac-analog"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"env": "Pendulum-v1", "strategy": "fld"}, "'fld'.*fd or fedavg"),
        ({"env": "Pendulum-v1", "strategy": "hfd"}, "'hfd'.*fd or fedavg"),
        ({"env": "Pendulum-v1", "channel": AIR}, "mac-digital, or fedavg"),
        ({"env": "shared_worlds:Pair", "channel": AIR}, "roles.*mac-digital"),
        (
            {
                "agents": 12,
                "networks": "arch",
                "same_init": False,
                "strategy": "fedavg",
                "channel": AIR,
            },
            "networks.*mac-digital",
        ),
        ({"strategy": "mix2fld"}, "--agent classifier"),
        ({"strategy": "fl+faug"}, "--agent classifier"),
        (
            {"agent": "classifier", "hetero": {"type": "dynamics", "level": 0.5}},
            "labeled.*'CartPole-v1'",
        ),
        ({"env": "fdrl/Digits-v0", "strategy": "mixfld", "channel": AIR}, "samples of their own"),
        ({"env": "fdrl/Digits-v0", "strategy": "fd+faug", "channel": AIR}, "samples of their own"),
        ({"env": "fdrl/Digits-v0", "strategy": "fl+faug", "channel": AIR}, "samples of their own"),
    ],
)
def test_refused_in_one_line(fields: dict[str, Any], words: str) -> None:
    labels = fields.get("env") == "fdrl/Digits-v0"
    agent = {"agent": "classifier", "agents": 2} if labels else {}
    with pytest.raises(FdrlError, match=words) as caught:
        Federation(make_run(**({"steps": 512, "seed": 1} | agent | fields)))
    assert "\n" not in str(caught.value)


def test_classifiers_are_trained_one_after_another_where_others_are_packed() -> None:
    agent = {"type": "classifier", "local_steps": 4, "curve_samples": 20}
    strategy = {"type": "fd", "answer": "labels"}
    runs = [
        make_run(env="fdrl/Digits-v0", agents=2, steps=512, agent=agent, strategy=strategy, seed=s)
        for s in (1, 2)
    ]
    for packed, run in zip(train_packed(runs), runs, strict=True):
        alone = train(run)
        assert packed.returns == alone.returns
        assert packed.bytes_up == alone.bytes_up


def test_agents_of_a_shared_world_are_trained_one_after_another_where_others_are_packed() -> None:
    agent = {"type": "ppo", "n_envs": 2, "n_steps": 8, "batch_size": 8, "n_epochs": 1}
    runs = [make_run(env="shared_worlds:Pair", steps=64, agent=agent, seed=s) for s in (1, 2)]
    for packed, run in zip(train_packed(runs), runs, strict=True):
        assert packed.returns == train(run).returns


def test_a_label_that_nobody_owns_is_named() -> None:
    agent = {"type": "classifier", "partition": "thinned", "scarce_labels": 9, "scarce": 0}
    run = make_run(env="fdrl/Digits-v0", agents=1, steps=64, agent=agent, strategy="local", seed=3)
    with pytest.warns(Notice, match="no agent owns a sample of label 0, 1, 2, 3, 4, 5, 6, 7, 8,"):
        Federation(run).close()
