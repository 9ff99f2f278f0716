"""Strategies on continuous actions: three agents worked out by hand, and real runs of every one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import IDS, FakeCohort, contexts, experience
from messages import fails
from packs import assert_same_run, seeded

import fdrl
from fdrl.cli.eval import load, policy
from fdrl.config.run import make_run
from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import GaussTable, ProbTable, ProxyUpdate
from fdrl.strategies.distillation.client import Client
from fdrl.strategies.distillation.server import Server
from fdrl.wire.codec import decode, encode

TWO_STATES = {"type": "uniform", "size": 2}
ANSWERS = [  # three agents, two proxies, one dimension: mean, standard deviation
    [[0.0, 1.0], [1.0, 1.0]],
    [[4.0, 2.0], [1.0, 1.0]],
    [[2.0, 1.0], [1.0, 1.0]],
]
FLOAT = {"type": "fd", "coding": "float32", "visit_power": 0.0}


def opened(strategy: Any, **fields: Any) -> tuple[Client, Server, FakeCohort]:
    to_client, to_server = contexts(strategy, **fields)
    client = Client(replace(to_client, n_actions=1, gaussian=True))
    server = Server(replace(to_server, n_actions=1, gaussian=True))
    cohort = FakeCohort(IDS, ANSWERS)
    for name, message in server.announce().items():
        client.check(cohort, decode(encode(message)), name, 0)
    return client, server, cohort


def one_round(client: Client, server: Server, cohort: FakeCohort, seen: Any) -> Any:
    up = {n: decode(encode(m)) for n, m in client.upload(cohort, seen, 1).items()}
    for name, message in up.items():
        server.check(message, name, 1)
    down = {n: decode(encode(m)) for n, m in server.aggregate(1, up).items()}
    for name, message in down.items():
        client.check(cohort, message, name, 1)
    client.download(cohort, down, 1)
    return down


SEEN = experience([[[0.1]], [[0.2]], [[0.3]]])


def test_the_mixture_is_what_everyone_distills() -> None:
    """First state: mean (0 + 4 + 2) / 3, variance (1 + 4 + 1) / 3 + (4 + 4 + 0) / 3."""
    client, server, cohort = opened(FLOAT, proxy=TWO_STATES)
    down = one_round(client, server, cohort, SEEN)
    wanted = [[2.0, np.sqrt(2 + 8 / 3)], [1.0, 1.0]]
    np.testing.assert_allclose(down[IDS[1]].moments, wanted, rtol=1e-6)
    (told,) = cohort.distilled
    np.testing.assert_allclose(told.targets, [wanted] * 3, rtol=1e-6)
    half_log = 0.5 + 0.5 * np.log(2 * np.pi)
    entropy = half_log + np.log(2 + 8 / 3) / 4
    assert server.metrics()["distill/teacher_entropy"] == pytest.approx(entropy)


def test_the_product_listens_to_who_is_sure() -> None:
    """Precision (1 + 1/4 + 1) / 3 = 3/4, mean (0 * 1 + 4 / 4 + 2 * 1) / 3 / (3/4) = 4/3."""
    client, server, cohort = opened({**FLOAT, "gaussians": "product"}, proxy=TWO_STATES)
    down = one_round(client, server, cohort, SEEN)
    np.testing.assert_allclose(down[IDS[0]].moments[0], [4 / 3, np.sqrt(4 / 3)], rtol=1e-6)


def test_sharpening_and_leaving_oneself_out() -> None:
    """Of the others, agent 0 hears N(4, 2) and N(2, 1): mean 3, variance 5/2 + 1, over 4."""
    fields = {**FLOAT, "sharpen": 4.0, "leave_self_out": True}
    client, server, cohort = opened(fields, proxy=TWO_STATES)
    down = one_round(client, server, cohort, SEEN)
    np.testing.assert_allclose(down[IDS[0]].moments[0], [3.0, np.sqrt(3.5 / 4)], rtol=1e-6)


def test_cells_hold_the_mixture_of_their_visits() -> None:
    """Agent 0 was in cell 0 twice, as N(0, 1) and N(4, 2); agent 1 in cell 1; agent 2 nowhere."""
    client, server, cohort = opened(
        {"type": "frd", "visit_power": 1.0, "visit_offset": 0.0}, proxy={"type": "grid", "bins": 2}
    )
    seen = experience(
        [[[0.1], [0.2]], [[0.9]], []], probs=[[[0.0, 1.0], [4.0, 2.0]], [[5.0, 0.5]], []]
    )
    down = one_round(client, server, cohort, seen)
    np.testing.assert_allclose(
        down[IDS[2]].moments, [[2.0, np.sqrt(2.5 + 4)], [5.0, 0.5]], rtol=1e-6
    )
    assert cohort.distilled[0].states.ravel().tolist() == [0.25, 0.75]


def test_raw_states_travel_with_their_gaussians() -> None:
    client, server, cohort = opened({"type": "pd"}, proxy=TWO_STATES)
    seen = experience([[[0.1]], [[0.9]], []], probs=[[[0.5, 1.5]], [[5.0, 0.5]], []])
    down = one_round(client, server, cohort, seen)
    np.testing.assert_allclose(down[IDS[2]].moments, [[0.5, 1.5], [5.0, 0.5]])
    np.testing.assert_allclose(cohort.distilled[0].states, [[0.1], [0.9]])


def test_a_table_of_probabilities_is_refused_on_both_sides() -> None:
    client, server, cohort = opened(FLOAT, proxy=TWO_STATES)
    opening = server.announce()[IDS[0]]
    assert isinstance(opening, ProxyUpdate)
    wrong = ProbTable(1, np.full((2, 2), 0.5, np.float32), version=opening.version)
    with fails(BadMessage, "GaussTable", "ProbTable"):
        server.check(wrong, IDS[0], 1)
    with fails(BadMessage, "GaussTable", "ProbTable"):
        client.check(cohort, wrong, IDS[0], 1)
    moments = np.ones((2, 4), np.float32)
    with fails(BadMessage, "dimensions", 1, 2):
        server.check(GaussTable(1, moments, version=opening.version), IDS[0], 1)


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ({"type": "fd", "combine": "median"}, "combine = 'median': use gaussians = 'mixture'"),
        ({"type": "fd", "confidence": True}, "confidence: no Gaussian is uniform"),
        ({"type": "mixfrd"}, "mixup: it interpolates probabilities: use frd or fd"),
        ({"type": "fd", "distill": {"loss": "js"}}, "loss = 'js': use forward or reverse"),
        ({"type": "self", "distill": {"loss": "js"}}, "loss = 'js': use forward or reverse"),
    ],
)
def test_what_does_not_go_with_continuous_actions(strategy: Any, words: str) -> None:
    run = make_run(env="Pendulum-v1", agents=2, steps=16, strategy=strategy)
    with pytest.raises(FdrlError, match=f"continuous actions do not go with .*{words}"):
        fdrl.train(run)


def test_gaussians_need_continuous_actions() -> None:
    run = make_run(agents=2, steps=16, strategy={"type": "fd", "gaussians": "product"})
    with fails(FdrlError, "gaussians", "combine", "strategy"):
        fdrl.train(run)


SMALL: dict[str, Any] = {
    "env": "Pendulum-v1",
    "agents": 3,
    "steps": 4 * 32,
    "agent": {"type": "ppo", "n_envs": 2, "n_steps": 16, "hidden": [8], "n_epochs": 2},
    "hetero": {"type": "dynamics", "level": 0.3},
    "evaluation": {"episodes": 2},
    "checkpoint_every": 2,
}
MIX = {"type": "mix", "size": 16, "refresh": 2}
STRATEGIES: dict[str, dict[str, Any]] = {
    "local": {"strategy": "local"},
    "self": {"strategy": {"type": "self", "distill": {"steps": 2}}, "proxy": MIX},
    "fedavg": {"strategy": {"type": "fedavg", "optimizer": "average"}},
    "fedprox": {"strategy": {"type": "fedavg", "prox": 0.1}},
    "pooled": {"strategy": "pooled"},
    "pd": {"strategy": "pd"},
    "frd": {"strategy": "frd", "proxy": {"type": "grid", "bins": 6}},
    "fedhpd": {
        "strategy": {"type": "fedhpd", "every": 1, "distill": {"passes": 1}},
        "proxy": {"type": "uniform", "size": 64},
    },
    "fd": {"strategy": {"type": "fd", "distill": {"steps": 4}}, "proxy": MIX},
    "product": {
        "strategy": {
            "type": "fd", "gaussians": "product", "beta": 1.0, "coding": "float16",
            "distill": {"steps": 4, "loss": "reverse", "kl_limit": 0.5},
        },
        "proxy": MIX,
    },
}  # fmt: skip


class Stop:
    """A tracker that stops the run after its second round."""

    def start(self, *args: Any) -> None: ...

    def round(self, record: Any) -> None:
        if record.round == 2:
            raise KeyboardInterrupt

    def finish(self, *args: Any) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_runs_and_resumes_to_the_bit(name: str, tmp_path: Path) -> None:
    run = make_run(**SMALL, **STRATEGIES[name])
    whole = fdrl.train(run, out=tmp_path / "whole", curves=False)
    assert np.isfinite([whole.return_mean, whole.return_worst]).all()
    assert whole.bytes_up > 0 or name in ("local", "self")
    with pytest.raises(KeyboardInterrupt):
        fdrl.train(run, out=tmp_path / "cut", curves=False, trackers=[Stop()])
    fdrl.train(run, out=tmp_path / "cut", curves=False, resume=True)
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize("name", ["fd", "fedavg"])
def test_packed_seeds_equal_runs_of_their_own(name: str, tmp_path: Path) -> None:
    runs = seeded(make_run(**SMALL, **STRATEGIES[name]), 3)
    folders = [tmp_path / f"packed-{i}" for i in range(3)]
    fdrl.train_packed(runs, out=folders, curves=False)
    for i, run in enumerate(runs):
        fdrl.train(run, out=tmp_path / f"alone-{i}", curves=False)
        assert_same_run(folders[i], tmp_path / f"alone-{i}")


@pytest.mark.slow
def test_worker_processes_change_no_number(tmp_path: Path) -> None:
    for threads in (1, 2):
        run = make_run(**SMALL, **STRATEGIES["fd"], threads=threads)
        fdrl.train(run, out=tmp_path / str(threads), curves=False)
    assert_same_run(tmp_path / "2", tmp_path / "1")


def test_networks_may_differ(tmp_path: Path) -> None:
    run = make_run(**SMALL, **STRATEGIES["fd"], networks="arch")
    assert fdrl.train(run).bytes_up > 0


def test_a_finished_run_can_be_played(tmp_path: Path) -> None:
    fdrl.train(make_run(**SMALL, **STRATEGIES["fd"]), out=tmp_path / "run", curves=False)
    federation, _ = load(tmp_path / "run")
    try:
        seen = np.array([1.0, 0.0, 0.0], np.float32)
        sure, drawn = policy(federation, 1, True), policy(federation, 1, False)
        assert sure(seen).tolist() == sure(seen).tolist()
        assert sure(seen).dtype == np.float32
        many = np.array([drawn(seen) for _ in range(200)])
        assert many.shape == (200, 1)
        assert np.abs(many).max() <= 2.0
        assert many.std() > 0.5
    finally:
        federation.close()
