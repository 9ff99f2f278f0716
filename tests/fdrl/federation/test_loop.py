"""The round loop on real environments: budgets, faults on the way, several cohorts, learning."""

from dataclasses import replace

import numpy as np
import pytest
from by_label import SMALL
from messages import fails, says
from rounds import records

import fdrl
from fdrl.channels.settings import IdealChannel
from fdrl.core.errors import BadMessage, FdrlError, Notice
from fdrl.core.paths import started
from fdrl.core.registry import STRATEGIES
from fdrl.core.transport import Delivery
from fdrl.wire.codec import decode, encode
from fdrl.wire.parts import OptimizerState, Values

FAST = {"type": "ppo", "n_epochs": 2, "hidden": (16,)}


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_every_strategy_takes_exactly_the_same_steps(name):
    fields = {"strategy": name, "agent": FAST} | SMALL.get(name, {})
    run = fdrl.make_run(agents=3, steps=600, **fields)
    last = records(fdrl.Federation(run))[-1]
    assert last.env_steps == [600, 600, 600]  # 256 + 256 + 88: the last round is shorter


class Unreliable:
    """Spoils chosen messages: drops, truncates or replaces them."""

    def __init__(self, spoil):
        self.spoil = spoil

    def send(self, message, direction, agent, round):
        return Delivery(self.spoil(message, direction, agent, round))


def test_a_lost_and_a_truncated_upload_are_reported_and_the_round_goes_on():
    def spoil(message, direction, agent, round):
        if direction == "up" and round == 2:
            return {"agent-00": None, "agent-01": message[:-3]}.get(agent, message)
        return message

    run = fdrl.make_run(agents=3, steps=768, agent=FAST)
    first, second, third = records(fdrl.Federation(run, Unreliable(spoil)))
    assert first.rejected == []
    assert third.rejected == []
    assert dict(second.rejected).keys() == {"agent-00", "agent-01"}
    assert "lost" in dict(second.rejected)["agent-00"]
    assert second.exchanged
    assert second.metrics["comm/rejected"] == 2


def test_an_agent_that_missed_new_proxies_is_brought_up_to_date():
    def spoil(message, direction, agent, round):
        lost = direction == "down" and round == 1 and agent == "agent-02"
        return None if lost else message

    proxy = {"type": "visited", "size": 32, "refresh": 1}
    run = fdrl.make_run(
        agents=3,
        steps=1280,
        agent=FAST,
        proxy=proxy,
        cohorts=[{"agents": 2, "agent": FAST}, {"agents": 1, "agent": FAST}],
    )
    found = records(fdrl.Federation(run, Unreliable(spoil)))
    assert [a for a, _ in found[0].rejected] == ["agent-02"]
    assert "proxy set" in dict(found[1].rejected)["agent-02"]
    assert found[2].rejected == []


def test_bytes_are_those_of_the_encoded_messages():
    sizes = {"up": [], "down": []}

    def spoil(message, direction, agent, round):
        sizes[direction].append(len(message))
        return message

    run = fdrl.make_run(agents=3, steps=768, agent=FAST, strategy="fedavg")
    last = records(fdrl.Federation(run, Unreliable(spoil)))[-1]
    assert last.bytes_up == sum(sizes["up"]) / 3
    assert last.bytes_down == sum(sizes["down"]) / 3
    assert sizes["up"][0] > 4 * (4 * 16 + 16 + 16 * 2 + 2)  # float32 parameters and a header


def test_exchange_period_in_iterations_steps_and_episodes():
    def rounds(**strategy):
        run = fdrl.make_run(
            agents=2, steps=1024, agent=FAST, strategy={"type": "fedavg", **strategy}
        )
        return [r.env_steps[0] for r in records(fdrl.Federation(run))]

    assert rounds(every=2) == [512, 1024]
    assert rounds(every=300, unit="steps") == [512, 1024]  # whole iterations
    by_episode = rounds(every=20, unit="episodes")
    assert by_episode[-1] == 1024
    assert by_episode[0] >= 256


def test_cohorts_of_different_architectures_teach_each_other():
    run = fdrl.make_run(agents=4, steps=512, agent=FAST | {"hidden": (64, 64)}, networks="arch")
    federation = fdrl.Federation(run)
    sizes = federation.parameters
    assert len(set(sizes.values())) == 4
    last = records(federation)[-1]
    assert last.metrics["distill/kl_after"] < last.metrics["distill/kl_before"]


def test_zero_weight_federation_equals_independent_learning():
    """The `local` baseline is not handicapped: it is a federation that listens to nobody."""
    base = {"agents": 3, "steps": 768, "agent": FAST, "seed": 4}
    quiet = {"type": "fd", "distill": {"steps": 0}}
    alone = fdrl.Federation(fdrl.make_run(strategy="local", **base))
    silent = fdrl.Federation(fdrl.make_run(strategy=quiet, **base))
    for federation in (alone, silent):
        records(federation)
    for a, b in zip(alone.clients, silent.clients, strict=True):
        np.testing.assert_array_equal(a.cohort.parameters(), b.cohort.parameters())


def test_agents_start_alike_only_where_they_should():
    def start(strategy, **fields):
        run = fdrl.make_run(strategy=strategy, agents=3, steps=256, agent=FAST, **fields)
        federation = fdrl.Federation(run)
        rows = federation.clients[0].cohort.parameters()
        federation.close()
        return np.ptp(rows, axis=0).max()

    assert start("fedavg") == 0.0
    assert start("fedavg", same_init=False) > 0.1
    assert start("fd") > 0.1


def test_threads_change_no_number():
    def outcome(threads):
        run = fdrl.make_run(agents=4, steps=512, agent=FAST, threads=threads)
        federation = fdrl.Federation(run)
        found = records_but_time(federation)
        summary = federation.evaluate(3)
        federation.close()
        return found, summary.tolist()

    def records_but_time(federation):
        found = []
        while not federation.done:
            r = federation.round()
            found.append((r.returns, r.metrics, r.bytes_up, r.rejected))
        return found

    assert outcome(1) == outcome(2)


def test_the_compute_control_counts_its_gradient_steps():
    run = fdrl.make_run(strategy="self", agents=2, steps=512, agent=FAST)
    federation = fdrl.Federation(run)
    last = records(federation)[-1]
    assert last.metrics["distill/kl_after"] < last.metrics["distill/kl_before"]
    assert federation.tally.gradient_steps.tolist() == [32, 32]
    assert last.bytes_up == last.bytes_down == 0


def test_steps_that_cannot_be_shared_are_refused_before_anything_is_trained():
    with fails(fdrl.FdrlError, "513 steps", "512 or 520"):
        fdrl.Federation(fdrl.make_run(agents=2, steps=513, agent=FAST))


def test_evaluation_along_the_way():
    run = fdrl.make_run(agents=2, steps=1024, agent=FAST, evaluation={"episodes": 2, "every": 2})
    found = ["eval/mean_reward" in r.metrics for r in records(fdrl.Federation(run))]
    assert found == [False, True, False, True]


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("name", STRATEGIES.names())
def test_no_message_can_end_a_round(name, direction):
    """Whatever happens to the bytes, the run goes on, and says what it refused."""
    rng = np.random.default_rng(1)

    def spoil(message, way, agent, round):
        if way != direction or round < 1 or agent == "agent-00":
            return message
        kind = rng.integers(4)
        if kind == 0:
            return None
        if kind == 1:
            return message[: rng.integers(len(message))]
        at = int(rng.integers(len(message)))
        return message[:at] + bytes([message[at] ^ int(rng.integers(1, 256))]) + message[at + 1 :]

    fields = {"strategy": name, "agent": FAST} | SMALL.get(name, {})
    run = fdrl.make_run(agents=3, steps=256 * 8, **fields)
    federation = fdrl.Federation(run, Unreliable(spoil))
    found = records(federation)
    assert federation.done
    spoiled = any(r.rejected for r in found)
    assert spoiled == (name not in ("local", "self"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in STRATEGIES.names() if "env" not in SMALL.get(n, {})])
def test_every_strategy_learns(name):
    """Well above the 20 points of a random policy, on four CartPoles and 25,000 steps."""
    settings = {
        "frd": {"type": "frd", "every": 4},
        "mixfrd": {"type": "mixfrd", "every": 4},
        "pd": {"type": "pd", "every": 4},
        "hfd": {"type": "hfd", "distill": {"lr": 1e-3}},  # its default rate suits classifiers
    }
    run = fdrl.make_run(strategy=settings.get(name, name), agents=4, steps=25_600, seed=2)
    federation = fdrl.Federation(run)
    found = [r.return_mean for r in records(federation)]
    assert np.mean(found[-5:]) > 120, found[-5:]


def test_the_box_of_states_is_measured_once_and_its_steps_are_counted(monkeypatch):
    """CartPole-v0 has unbounded velocities and no registered box."""
    from fdrl.vector.factory import EnvFactory

    measured = []
    original = EnvFactory.measure_proxy_box

    def counting(self, *args, **kwargs):
        measured.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(EnvFactory, "measure_proxy_box", counting)
    run = fdrl.make_run(env="CartPole-v0", agents=2, steps=256, agent=FAST)
    federation = fdrl.Federation(run)
    federation.close()
    assert len(measured) == 1
    assert federation.proxy_steps == 1000


def test_no_worker_is_left_when_the_server_cannot_be_built():
    import multiprocessing

    before = set(multiprocessing.active_children())
    strategy = {"type": "pd", "leave_self_out": True}
    run = fdrl.make_run(strategy=strategy, agents=2, steps=256, agent=FAST, threads=2)
    with pytest.raises(fdrl.FdrlError, match="leave_self_out"):
        fdrl.Federation(run)
    assert set(multiprocessing.active_children()) == before


def test_no_worker_is_left_when_a_later_cohort_cannot_be_built():
    import multiprocessing

    before = set(multiprocessing.active_children())
    bad = {"type": "ppo", "backend": "torch"}
    cohorts = ({"agents": 2, "agent": FAST}, {"agents": 1, "agent": bad})
    run = fdrl.make_run(steps=256, cohorts=cohorts, threads=2, device="nowhere")
    with pytest.raises(fdrl.FdrlError, match="nowhere"):
        fdrl.Federation(run)
    assert set(multiprocessing.active_children()) == before


@pytest.mark.parametrize("strategy", ["local", "fedavg", "pd"])
def test_methods_that_visit_no_states_count_none(strategy):
    run = fdrl.make_run(
        agents=2, steps=256, agent=FAST, strategy=strategy, proxy={"type": "rollout", "size": 32}
    )
    federation = fdrl.Federation(run)
    assert federation.proxy_steps == 0
    federation.close()


def test_a_server_that_visits_states_counts_its_steps():
    run = fdrl.make_run(
        agents=2, steps=512, agent=FAST, proxy={"type": "rollout", "size": 32},
        evaluation={"episodes": 1},
    )  # fmt: skip
    federation = fdrl.Federation(run)
    first = federation.server.half.proxies.states
    assert first.shape == (32, 4)
    assert (np.abs(first[:, 0]) < 2.4).all()
    assert len({*map(tuple, first.tolist())}) == 32
    while not federation.done:
        record = federation.round()
    summary = federation.summary()
    federation.close()
    assert summary.server_env_steps == 32
    assert record.bytes_down > 32 * 4 * 4  # the states were sent once
    again = fdrl.Federation(run)
    np.testing.assert_array_equal(again.server.half.proxies.states, first)
    again.close()


# ---- One bad upload harms its sender alone ----


TINY = {"type": "ppo", "hidden": (8,), "n_envs": 2, "n_steps": 32, "n_epochs": 2}


class Changed:
    """Changes what the first agent sends, or what it is sent."""

    def __init__(self, change, way="up"):
        self.change, self.way = change, way

    def send(self, message, direction, agent, round):
        if direction == self.way and agent == "agent-00" and round:
            message = encode(self.change(decode(message)))
        return Delivery(message)


def all_finite(federation):
    parts = ("all", "optimizer")
    return all(np.isfinite(c.cohort.parameters(p)).all() for c in federation.clients for p in parts)


def rewarded(reward):
    def change(message):
        arrays = dict(message.arrays)
        arrays["rewards"] = np.full_like(arrays["rewards"], reward)
        return replace(message, arrays=arrays)

    return change


def moments(*levels):
    """Return a change of Adam's means and mean squares to these levels."""

    def change(message):
        size = len(message.values)
        values = np.concatenate([np.full(size, level) for level in levels] + [[1.0]])
        return message.with_parts(OptimizerState(values.astype(np.float32)))

    return change


AVERAGED = {"type": "fedavg", "optimizer": "average"}


@pytest.mark.parametrize(
    ("strategy", "change", "refused"),
    [
        (AVERAGED, moments(-1e30, -1e30), True),
        (AVERAGED, moments(1e6, 0.0), True),
        (AVERAGED, moments(1e9, 1e18), False),
        ("pooled", rewarded(3e38), True),
        ("pooled", rewarded(-1e9), False),
        ("fdv", lambda m: m.with_parts(Values(np.full(len(m.probs), 1e9))), False),
    ],
)
def test_an_extreme_upload_harms_nobody_else(strategy, change, refused):
    fields = {"proxy": {"type": "mix", "size": 16}} if strategy == "fdv" else {}
    run = fdrl.make_run(agents=3, steps=192, agent=TINY, strategy=strategy, **fields)
    federation = fdrl.Federation(run, Changed(change))
    found = records(federation)
    assert all_finite(federation)
    assert {agent for r in found for agent, _ in r.rejected} == ({"agent-00"} if refused else set())


@pytest.mark.parametrize(
    ("strategy", "change"),
    [
        (AVERAGED, moments(1e9, 1e18)),
        ("fedavg", lambda m: replace(m, values=np.resize([1e6, -1e6], len(m.values)))),
        ("fd", lambda m: replace(m, probs=np.eye(2)[np.zeros(len(m.probs), int)])),
    ],
)
def test_the_largest_that_may_be_sent_down_leaves_finite_parameters(strategy, change):
    fields = {"proxy": {"type": "mix", "size": 16}} if strategy == "fd" else {}
    run = fdrl.make_run(agents=2, steps=192, agent=TINY, strategy=strategy, **fields)
    federation = fdrl.Federation(run, Changed(change, "down"))
    found = records(federation)
    assert all_finite(federation)
    assert not federation.stopped
    assert all(agent == "agent-00" for r in found for agent, _ in r.rejected)


def test_an_answer_that_cannot_be_sent_is_skipped_and_noted(monkeypatch):
    run = fdrl.make_run(agents=2, steps=192, agent=TINY, strategy="fedavg")
    federation = fdrl.Federation(run)
    honest = federation.server.half.aggregate

    def aggregate(round, messages):
        out = honest(round, messages)
        if round == 1:
            raise BadMessage("they add up to nothing")
        return {n: replace(m, values=m.values * np.nan) if n == "agent-01" else m
                for n, m in out.items()}  # fmt: skip

    monkeypatch.setattr(federation.server.half, "aggregate", aggregate)
    first, second, _ = records(federation)
    assert [agent for agent, _ in first.rejected] == ["agent-00", "agent-01"]
    says(first.rejected[0][1], "they add up to nothing")
    assert [agent for agent, _ in second.rejected] == ["agent-01"]
    assert second.exchanged


def test_an_absurd_learning_rate_is_said_once_with_its_remedy():
    agent = TINY | {"learning_rate": 1e30}
    with pytest.warns(Notice) as said:
        federation = fdrl.Federation(fdrl.make_run(agents=2, steps=64, agent=agent))
    assert len(said) == 1
    says(said[0].message, "agent.learning_rate")
    federation.close()


def test_a_shared_key_changes_bytes_alone_and_tells_whose_a_message_is(tmp_path):
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    fields = {"agents": 2, "steps": 128, "agent": TINY, "strategy": "fedavg"}
    plain = records(fdrl.Federation(fdrl.make_run(**fields)))
    run = fdrl.make_run(channel={"type": "ideal", "key_file": str(tmp_path / "key")}, **fields)
    known = records(fdrl.Federation(run))
    assert [r.return_mean for r in known] == [r.return_mean for r in plain]
    assert [r.bytes_up for r in known] == [r.bytes_up + 16 * r.round for r in plain]

    def spoil(message, direction, agent, round):
        return message[:-16] if agent == "agent-00" else message

    for record in records(fdrl.Federation(run, Unreliable(spoil))):
        assert {agent for agent, _ in record.rejected} == {"agent-00"}
    for missing in ("none", "short"):
        (tmp_path / "short").write_bytes(b"0")
        bad = {"type": "ideal", "key_file": str(tmp_path / missing)}
        with fails(FdrlError, "channel.key_file"):
            fdrl.Federation(fdrl.make_run(channel=bad, **fields))


def test_a_key_file_is_where_it_was_named(tmp_path, monkeypatch):
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    monkeypatch.chdir(tmp_path)
    with started():
        monkeypatch.chdir("/")  # as simulators do
        assert IdealChannel(key_file="key").key() == b"0123456789abcdef"
