"""The engine behind fd, fedhpd, frd, mixfrd and pd, on three agents, worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import IDS, FakeCohort, contexts, experience
from rounds import ANSWERS, FLOAT, TWO_STATES, one_round, receive, through_bytes

from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import Parameters, ProbTable, ProxyUpdate
from fdrl.strategies.distillation.client import Client
from fdrl.strategies.distillation.server import Server
from fdrl.strategies.distillation.settings import FD
from fdrl.strategies.returns import GRACE
from fdrl.wire.codec import encode
from fdrl.wire.parts import CellRows, NextSet, Seen, StateRows, Visits


def halves(strategy, **fields):
    client, server = contexts(strategy, **fields)
    return Client(client), Server(server)


def opened(strategy, **fields):
    client, server = halves(strategy, **fields)
    cohort = FakeCohort(IDS, ANSWERS)
    receive(client, cohort, through_bytes(server.announce()), 0)
    return client, server, cohort


def proxies_of(client, agent=0):
    return client.answers.sets[client.answers.versions[agent]]


def test_plain_mean_of_current_policies():
    client, server, cohort = opened(FLOAT, proxy=TWO_STATES)
    one_round(client, server, cohort, experience([[[0.1]]] * 3))
    told = cohort.distilled[0]
    np.testing.assert_allclose(told.targets[0], [[0.5, 0.5], [1 / 3, 2 / 3]], atol=1e-6)
    np.testing.assert_array_equal(told.targets[0], told.targets[2])
    np.testing.assert_array_equal(told.weights, np.ones((3, 2)))


def test_mean_goes_on_without_a_missing_agent_and_still_teaches_it():
    client, server, cohort = opened(FLOAT, proxy=TWO_STATES)
    _, down = one_round(client, server, cohort, experience([[[0.1]]] * 3), drop=[IDS[0]])
    assert set(down) == set(IDS)
    np.testing.assert_allclose(
        cohort.distilled[0].targets[0], [[0.25, 0.75], [0.25, 0.75]], atol=1e-6
    )


def test_visits_decide_who_is_heard():
    settings = {**FLOAT, "visit_power": 1.0, "visit_offset": 0.0}
    client, server, cohort = opened(settings, proxy=TWO_STATES)
    a, b = proxies_of(client).states[:, 0]
    seen = experience([[[a], [a], [a]], [[a]], [[b]]])
    one_round(client, server, cohort, seen)
    # Proxy a: three visits of agent 0 (1, 0), one of agent 1 (0, 1); proxy b: agent 2 alone.
    np.testing.assert_allclose(
        cohort.distilled[0].targets[1], [[0.75, 0.25], [0.0, 1.0]], atol=0.02
    )


def test_returns_decide_who_is_heard():
    client, server, cohort = opened({**FLOAT, "beta": 1.0}, proxy=TWO_STATES)
    seen = experience([[[0.1]]] * 3, returns=[[-30.0], [-20.0], [-10.0]])
    one_round(client, server, cohort, seen)
    z = np.array([-1.0, 0.0, 1.0]) * np.sqrt(1.5)
    w = np.exp(z) / np.exp(z).sum()
    expected = w @ np.array(ANSWERS)[:, 0]
    np.testing.assert_allclose(cohort.distilled[0].targets[0, 0], expected, atol=1e-4)


def test_leave_self_out_teaches_each_agent_by_the_others():
    client, server, cohort = opened({**FLOAT, "leave_self_out": True}, proxy=TWO_STATES)
    one_round(client, server, cohort, experience([[[0.1]]] * 3))
    targets = cohort.distilled[0].targets
    np.testing.assert_allclose(targets[0], [[0.25, 0.75], [0.25, 0.75]], atol=1e-6)
    np.testing.assert_allclose(targets[2], [[0.5, 0.5], [0.5, 0.5]], atol=1e-6)


def test_sharpening_is_a_power_not_a_softmax():
    client, server, cohort = opened({**FLOAT, "sharpen": 2.0}, proxy=TWO_STATES)
    one_round(client, server, cohort, experience([[[0.1]]] * 3))
    np.testing.assert_allclose(cohort.distilled[0].targets[0, 1], [0.2, 0.8], atol=1e-6)


def test_fd_averages_logarithms_unless_told_otherwise():
    answers = [[[0.9, 0.1]] * 2, [[0.9, 0.1]] * 2, [[0.5, 0.5]] * 2]
    taught = {}
    for combine in ("log", "mean"):
        settings = {**FLOAT, "combine": combine, "visit_power": 0.0}
        client, server, _ = opened(settings, proxy=TWO_STATES)
        cohort = FakeCohort(IDS, answers)
        one_round(client, server, cohort, experience([[[0.1]]] * 3))
        taught[combine] = cohort.distilled[0].targets[0, 0, 0]
    odds = 9 ** (2 / 3)  # (9 * 9 * 1) ** (1 / 3)
    assert taught["log"] == pytest.approx(odds / (1 + odds), abs=1e-5)
    assert taught["mean"] == pytest.approx((0.9 + 0.9 + 0.5) / 3, abs=1e-5)
    assert FD().combine == "log"


@pytest.mark.parametrize("combine", ["median", "trimmed", "geometric"])
def test_robust_combinations_ignore_one_liar(combine):
    answers = [[[0.9, 0.1]] * 2, [[0.9, 0.1]] * 2, [[0.0, 1.0]] * 2]
    client, server, _ = opened({**FLOAT, "combine": combine, "trim": 0.4}, proxy=TWO_STATES)
    cohort = FakeCohort(IDS, answers)
    one_round(client, server, cohort, experience([[[0.1]]] * 3))
    assert abs(cohort.distilled[0].targets[0, 0, 0] - 0.9) < 0.02


def test_learning_rate_moves_to_its_end_over_the_run():
    client, server, cohort = opened({**FLOAT, "lr_end": 0.5}, proxy=TWO_STATES)
    one_round(client, server, cohort, experience([[[0.1]] * 20] * 3))  # 20 of 40 steps
    start = client.settings.distill.lr
    assert cohort.distilled[0].settings.lr == pytest.approx(0.75 * start)


def test_an_agent_far_below_its_own_best_says_nothing_and_then_does_not_listen():
    client, server, cohort = opened({**FLOAT, "gate": 0.5}, proxy=TWO_STATES)
    seen = [[[0.1]]] * 3
    one_round(client, server, cohort, experience(seen, returns=[[1.0] * 10, [1.0] * 10, []]))
    up = client.upload(cohort, experience(seen, returns=[[7.0] * 10] * 3), 2)
    assert set(up) == set(IDS)
    for round in range(3, 3 + GRACE + 1):
        fallen = experience(seen, returns=[[], [2.0] * 10, []])
        up = through_bytes(client.upload(cohort, fallen, round))
        assert set(up) == {IDS[0], IDS[2]}
        metrics = receive(client, cohort, through_bytes(server.aggregate(round, up)), round)
        np.testing.assert_array_equal(metrics["distill/speaking"], [1.0, 0.0, 1.0])
    assert all(d.weights.all() for d in cohort.distilled[:-1])
    np.testing.assert_array_equal(cohort.distilled[-1].weights.any(1), [True, False, True])
    np.testing.assert_array_equal(metrics["distill/listening"], [1.0, 0.0, 1.0])


def test_frd_averages_visits_per_cell_and_the_union_goes_down():
    client, server = halves("frd", proxy={"type": "grid", "bins": 2})
    cohort = FakeCohort(IDS, ANSWERS)
    seen = experience(
        [[[0.1], [0.2], [0.9]], [[0.1]], [[0.3]]],
        probs=[[[1, 0], [0.5, 0.5], [0.2, 0.8]], [[0, 1]], [[0.25, 0.75]]],
    )
    up, down = one_round(client, server, cohort, seen)
    np.testing.assert_array_equal(up[IDS[0]].need(CellRows).cells, [0, 1])
    np.testing.assert_allclose(up[IDS[0]].probs, [[0.75, 0.25], [0.2, 0.8]], atol=1e-6)
    np.testing.assert_array_equal(up[IDS[1]].need(CellRows).cells, [0])
    # Cell 0: mean over the three agents that were there; cell 1: agent 0 alone.
    np.testing.assert_allclose(down[IDS[2]].probs, [[1 / 3, 2 / 3], [0.2, 0.8]], atol=1e-6)
    np.testing.assert_allclose(cohort.distilled[0].states[:, 0], [0.25, 0.75])


def test_frd_weighted_by_counts():
    settings = {"type": "frd", "visit_power": 1.0, "visit_offset": 0.0}
    client, server = halves(settings, proxy={"type": "grid", "bins": 2})
    cohort = FakeCohort(IDS, ANSWERS)
    seen = experience(
        [[[0.1], [0.2], [0.2]], [[0.1]], [[0.9]]], probs=[[[1, 0]] * 3, [[0, 1]], [[0.5, 0.5]]]
    )
    _, down = one_round(client, server, cohort, seen)
    np.testing.assert_allclose(down[IDS[0]].probs[0], [0.75, 0.25], atol=0.01)


def test_mixfrd_mixes_at_the_agent_and_costs_nothing():
    seen = experience([[[0.1], [0.9]]] * 3, probs=[[[1, 0], [0, 1]]] * 3)
    sizes, mixed = {}, None
    for name in ("frd", "mixfrd"):
        client, server = halves(name, proxy={"type": "grid", "bins": 2})
        cohort = FakeCohort(IDS, ANSWERS)
        _, down = one_round(client, server, cohort, seen)
        sizes[name] = len(encode(down[IDS[0]]))
        mixed = cohort.distilled[0]
    assert sizes["frd"] == sizes["mixfrd"]
    assert mixed.states.shape == (3, 2, 1)
    # state = lam * center_a + (1 - lam) * center_b, and the target moves with the same lam
    expected = (mixed.states[..., 0] - 0.25) / 0.5
    np.testing.assert_allclose(mixed.targets[..., 1], expected, atol=1e-5)


def test_pd_concatenates_everything():
    client, server = halves("pd")
    cohort = FakeCohort(IDS, ANSWERS)
    seen = experience([[[0.1], [0.2]], [[0.3]], []], probs=[[[1, 0], [0, 1]], [[0.5, 0.5]], []])
    up, down = one_round(client, server, cohort, seen)
    assert set(up) == {IDS[0], IDS[1]}
    np.testing.assert_allclose(
        down[IDS[2]].need(StateRows).states[:, 0], [0.1, 0.2, 0.3], atol=1e-6
    )
    np.testing.assert_allclose(down[IDS[2]].probs, [[1, 0], [0, 1], [0.5, 0.5]], atol=1e-6)


def test_visited_proxies_are_refreshed_from_what_agents_saw():
    proxy = {"type": "visited", "size": 2, "bins": 10, "refresh": 1}
    client, server, cohort = opened(FLOAT, proxy=proxy)
    first = proxies_of(client).version
    seen = experience([[[0.11], [0.12], [0.55]], [[0.13]], [[0.57], [0.91]]])
    _, down = one_round(client, server, cohort, seen)
    cells = down[IDS[0]].need(NextSet).cells
    np.testing.assert_array_equal(cells, [1, 5])  # 3, 2 visits against 1
    np.testing.assert_allclose(proxies_of(client).states[:, 0], [0.15, 0.55], atol=1e-6)
    assert proxies_of(client).version == server.proxies.version != first


def test_an_agent_with_an_old_proxy_set_is_refused_and_brought_up_to_date():
    proxy = {"type": "visited", "size": 2, "bins": 10, "refresh": 1}
    client, server, cohort = opened(FLOAT, proxy=proxy)
    old = through_bytes(client.upload(cohort, experience([[[0.1]]] * 3), 1))
    for name, message in old.items():
        server.check(message, name, 1)
    server.aggregate(1, old)  # the agents never hear of the new set
    late = through_bytes(client.upload(cohort, experience([[[0.1]]] * 3), 2))
    with pytest.raises(BadMessage, match="proxy set"):
        server.check(late[IDS[0]], IDS[0], 2)
    down = through_bytes(server.aggregate(2, {}))
    assert isinstance(down[IDS[0]], ProxyUpdate)
    receive(client, cohort, down, 2)
    assert proxies_of(client).version == server.proxies.version


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: replace(t, round=2), "round"),
        (lambda t: replace(t, version="0badbeef"), "proxy set"),
        (lambda t: replace(t, probs=np.array([[0.5, 0.5]], np.float32)), "rows"),
        (lambda t: replace(t, probs=np.full((2, 3), 1 / 3, np.float32)), "actions"),
        (lambda t: t.without(Visits), "visit counts are missing"),
        (lambda t: t.with_parts(Visits(np.array([1e6, 1e6]))), "more than steps"),
        (lambda t: t.with_parts(StateRows(np.zeros((2, 1)))), "states that nobody asked for"),
        (lambda t: t.with_parts(CellRows(np.array([0, 1]))), "cells that nobody asked for"),
        (lambda t: t.with_parts(Seen(np.array([1]), np.array([1.0]))), "visited cells that nobody"),
        (lambda t: t.with_parts(NextSet(np.array([1]), "0badbeef")), "proxy sets that nobody"),
    ],
)
def test_bad_tables_are_refused_with_a_reason(change, reason):
    client, server, cohort = opened("fd", proxy=TWO_STATES)
    good = client.upload(cohort, experience([[[0.1]]] * 3), 1)[IDS[0]]
    with pytest.raises(BadMessage, match=reason):
        server.check(change(good), IDS[0], 1)
    server.check(good, IDS[0], 1)


def test_agents_never_heard_of_are_sent_the_proxy_set_and_the_teacher_in_turn():
    client, server, cohort = opened("fd", proxy=TWO_STATES)
    down = through_bytes(server.aggregate(1, {}))
    assert set(down) == set(IDS)
    assert all(isinstance(m, ProxyUpdate) for m in down.values())
    up = client.upload(cohort, experience([[[0.1]]] * 3), 2)
    server.check(up[IDS[1]], IDS[1], 2)
    down = through_bytes(server.aggregate(2, {IDS[1]: up[IDS[1]]}))
    assert [isinstance(down[i], ProbTable) for i in IDS] == [True, True, True]
    up = client.upload(cohort, experience([[[0.1]]] * 3), 3)
    server.check(up[IDS[1]], IDS[1], 3)
    down = through_bytes(server.aggregate(3, {IDS[1]: up[IDS[1]]}))
    assert [isinstance(down[i], ProbTable) for i in IDS] == [False, True, False]


def test_rows_that_nobody_has_been_near_are_a_plain_mean():
    settings = {**FLOAT, "visit_power": 1.0, "visit_offset": 0.0}
    client, server, cohort = opened(settings, proxy=TWO_STATES)
    a = proxies_of(client).states[0, 0]
    one_round(client, server, cohort, experience([[[a]], [[a]], [[a]]]))
    np.testing.assert_allclose(cohort.distilled[0].targets[0, 1], [1 / 3, 2 / 3], atol=1e-6)


def test_visited_cells_are_believed_only_as_far_as_an_agent_can_walk():
    proxy = {"type": "visited", "size": 2, "bins": 10, "refresh": 2}
    client, server, cohort = opened(FLOAT, proxy=proxy)
    good = client.upload(cohort, experience([[[0.1]]] * 3), 1)[IDS[0]]
    server.check(good, IDS[0], 1)
    for seen, times, reason in (
        ([1], [500.0], "steps"),
        ([1, 2, 3], [1.0, 1.0, 1.0], "more than 2"),
    ):
        bad = good.with_parts(Seen(np.array(seen), np.array(times)))
        with pytest.raises(BadMessage, match=reason):
            server.check(bad, IDS[0], 1)


def test_an_agent_is_told_of_the_next_proxies_by_its_own_messages_only():
    proxy = {"type": "visited", "size": 2, "bins": 10, "refresh": 1}
    client, server, cohort = opened(FLOAT, proxy=proxy)
    up = through_bytes(client.upload(cohort, experience([[[0.1], [0.5]]] * 3), 1))
    for name, message in up.items():
        server.check(message, name, 1)
    down = through_bytes(server.aggregate(1, up))
    del down[IDS[2]]
    receive(client, cohort, down, 1)
    versions = client.answers.versions
    assert versions[0] == versions[1] == server.proxies.version != versions[2]
    late = client.upload(cohort, experience([[[0.1]]] * 3), 2)
    assert late[IDS[2]].version == versions[2]
    assert cohort.distilled[0].weights[2].sum() == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"round": 77}, "round"),
        ({"version": "0badbeef"}, "proxy set"),
        ({"probs": np.full((5, 2), 0.5, np.float32)}, "rows"),
        ({"probs": np.full((2, 3), 1 / 3, np.float32)}, "actions"),
    ],
)
def test_agents_refuse_what_does_not_fit(change, reason):
    client, server, cohort = opened(FLOAT, proxy=TWO_STATES)
    _, down = one_round(client, server, cohort, experience([[[0.1]]] * 3))
    with pytest.raises(BadMessage, match=reason):
        client.check(cohort, replace(down[IDS[0]], **change), IDS[0], 1)
    with pytest.raises(BadMessage, match="expected"):
        client.check(cohort, Parameters(1, np.zeros(3, np.float32), "all", 1), IDS[0], 1)


def test_a_file_of_states_travels_once_and_survives_its_change(tmp_path):
    path = tmp_path / "states.npy"
    np.save(path, np.array([[0.25], [0.75]]))
    proxy = {"type": "file", "path": str(path)}
    client, server, _ = opened(FLOAT, proxy=proxy)
    np.testing.assert_allclose(proxies_of(client).states[:, 0], [0.25, 0.75])
    saved, kept = client.state(), server.state()
    np.save(path, np.array([[0.1], [0.2]]))
    client, server = halves(FLOAT, proxy=proxy)
    client.load_state(saved)
    server.load_state(kept)
    np.testing.assert_allclose(proxies_of(client).states[:, 0], [0.25, 0.75])
    assert server.proxies.version == proxies_of(client).version


def test_proxies_that_a_strategy_cannot_use_are_named():
    with pytest.raises(FdrlError, match="visited"):
        halves("fd", proxy={"type": "grid"})
    with pytest.raises(FdrlError, match="grid"):
        halves("frd", proxy={"type": "sobol"})


def test_state_continues_to_the_bit():
    proxy = {"type": "mix", "size": 4, "bins": 10, "refresh": 2}
    settings = {**FLOAT, "beta": 1.0, "mixup": 0.4, "gate": 0.8}
    answers = np.random.default_rng(0).dirichlet([1, 1], size=(3, 4))

    def play(rounds, stop=None):
        client, server = halves(settings, proxy=proxy)
        cohort = FakeCohort(IDS, answers)
        receive(client, cohort, through_bytes(server.announce()), 0)
        for r in rounds:
            if r == stop:
                saved, kept = client.state(), server.state()
                client, server = halves(settings, proxy=proxy)
                client.load_state(saved)
                server.load_state(kept)
            rng = np.random.default_rng(r)
            seen = experience(rng.random((3, 5, 1)).tolist(), returns=rng.random((3, 2)).tolist())
            up = client.upload(cohort, seen, r)
            up = through_bytes(up)
            for name, message in up.items():
                server.check(message, name, r)
            receive(client, cohort, through_bytes(server.aggregate(r, up)), r)
        return cohort.distilled

    straight, broken = play(range(1, 7)), play(range(1, 7), stop=4)
    assert len(straight) == 6
    for a, b in zip(straight, broken, strict=True):
        np.testing.assert_array_equal(a.states, b.states)
        np.testing.assert_array_equal(a.targets, b.targets)
        np.testing.assert_array_equal(a.weights, b.weights)
