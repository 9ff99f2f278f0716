"""REINFORCE: whole episodes, against torch and by hand; budgets, resuming, independence."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from fdrl.agents import ppo, reinforce
from fdrl.agents.episodes import Tape, returns_to_go, standardize
from fdrl.agents.ppo import PPO
from fdrl.agents.reinforce import Reinforce
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails
from tiny_cohorts import context, counter_context

import fdrl
from fdrl.checks.cohort import check_cohort
from fdrl.core.cohort import Cohort, Poolable
from fdrl.core.errors import FdrlError
from fdrl.core.seeding import Purpose, generator
from fdrl.core.settings import DistillSettings
from fdrl.federation.shards import build_cohort
from fdrl.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

SMALL = Reinforce(hidden=(8,), learning_rate=1e-2)
MANY = np.iinfo(np.int64).max


def test_returns_to_go_by_hand() -> None:
    assert returns_to_go([1.0, 1.0, 1.0], 0.5).tolist() == [1.75, 1.5, 1.0]
    assert returns_to_go([4.0, 0.0, -8.0], 0.5).tolist() == [2.0, -4.0, -8.0]
    assert returns_to_go([3.0, 5.0], 0.0).tolist() == [3.0, 5.0]


def test_standardized_returns_by_hand() -> None:
    # mean 3, sample variance (4 + 0 + 4) / 2
    np.testing.assert_allclose(standardize(np.array([5.0, 3.0, 1.0])), [1, 0, -1], atol=1e-5)
    assert standardize(np.array([7.0])).tolist() == [7.0]
    assert standardize(np.array([2.0, 2.0])).tolist() == [0.0, 0.0]


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=50), st.floats(-10, 10))
def test_standardized_returns_do_not_know_where_zero_is(returns: list[float], shift: float) -> None:
    plain = standardize(np.array(returns))
    np.testing.assert_allclose(plain.sum(), 0, atol=1e-4)
    np.testing.assert_allclose(standardize(np.array(returns) + shift), plain, atol=1e-4)
    if np.std(returns) > 1:
        assert np.std(plain, ddof=1) == pytest.approx(1, abs=1e-4)


def torch_policy(theta: torch.Tensor, sizes: list[int], x: torch.Tensor) -> torch.Tensor:
    """Return log-probabilities [n, A] of a tanh network whose parameters lie in a row."""
    offset = 0
    for layer, (i, o) in enumerate(pairwise(sizes)):
        w = theta[offset : offset + i * o].reshape(i, o)
        x = x @ w + theta[offset + i * o : offset + i * o + o]
        offset += i * o + o
        x = torch.tanh(x) if layer < len(sizes) - 2 else x
    assert offset == len(theta)
    return torch.log_softmax(x, 1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hidden": (8, 4), "gamma": 0.9},
        {"reduce": "mean", "max_grad_norm": 0.01},
        {"normalize_returns": False, "lr_gamma": 1.0},
    ],
)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_episodes_are_those_of_a_torch_script(options: dict[str, Any], backend: Any) -> None:
    """Adam and StepLR included; actions are drawn by hand from the agent's stream."""
    table = {"hidden": (8,), "learning_rate": 1e-2, "lr_step": 2, "lr_gamma": 0.5} | options
    s = Reinforce(backend=backend, **table)
    cohort = reinforce.make(s, context(1))
    sizes = [4, *s.hidden, 2]
    theta = torch.tensor(cohort.parameters()[0], requires_grad=True)
    adam = torch.optim.Adam([theta], lr=s.learning_rate, eps=1e-5)
    schedule = torch.optim.lr_scheduler.StepLR(adam, s.lr_step, s.lr_gamma)
    draws = generator(5, Purpose.ACTION, 0)
    for _ in range(5):
        seen = cohort.learn(np.array([MANY]), episodes=1)
        n = int(seen.steps[0])
        assert seen.lengths[0].tolist() == [n]
        actions = torch.tensor(draws.random(n) >= seen.probs[0, :, 0]).long()
        x = torch.tensor(seen.observations[0])
        log_p = torch_policy(theta, sizes, x)
        np.testing.assert_allclose(seen.probs[0], log_p.exp().detach(), atol=1e-4)
        returns = torch.tensor([sum(s.gamma**i for i in range(n - t)) for t in range(n)])
        if s.normalize_returns:
            returns = (returns - returns.mean()) / (returns.std() + 1e-5)
        each = -log_p[torch.arange(n), actions] * returns
        loss = each.sum() if s.reduce == "sum" else each.mean()
        adam.zero_grad()
        loss.backward()
        if s.max_grad_norm:
            assert torch.nn.utils.clip_grad_norm_([theta], s.max_grad_norm) > s.max_grad_norm
        assert seen.metrics["train/learning_rate"][0] == pytest.approx(schedule.get_last_lr()[0])
        adam.step()
        schedule.step()
        assert seen.metrics["train/loss"][0] == pytest.approx(loss.item(), abs=1e-3)
        entropy = (log_p.exp() * log_p).sum(1).mean().item()
        assert seen.metrics["train/entropy_loss"][0] == pytest.approx(entropy, abs=1e-4)
        np.testing.assert_allclose(cohort.parameters()[0], theta.detach(), atol=1e-4)


def test_the_learning_rate_falls_with_updates_whoever_resets_the_optimizer() -> None:
    cohort = reinforce.make(
        Reinforce(learning_rate=1.0, lr_step=2, lr_gamma=0.5, hidden=()), counter_context(length=3)
    )
    rates = []
    for _ in range(5):
        rates.append(cohort.learn(np.array([3])).metrics["train/learning_rate"][0])
        cohort.load_parameters(np.zeros_like(cohort.parameters("optimizer")), "optimizer")
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.25]
    # two more episodes in one stretch: means over episodes
    assert cohort.learn(np.array([6])).metrics["train/learning_rate"].tolist() == [0.1875]


@pytest.mark.parametrize("truncates", [False, True])
def test_episodes_of_different_length_end_when_they_end(truncates: bool) -> None:
    # agent k's episodes take 3 + k steps
    cohort = reinforce.make(SMALL, counter_context(agents=3, length=3, truncates=truncates))
    first = cohort.learn(np.full(3, 12))
    assert [n.tolist() for n in first.lengths] == [[3] * 4, [4] * 3, [5] * 2]
    assert cohort.learner.count.tolist() == [4, 3, 2]
    assert cohort.state()["begun/rewards"].tolist() == [[0, 0], [0, 0], [1, 1]]
    second = cohort.learn(np.full(3, 1000), episodes=2)
    assert second.steps.tolist() == [6, 8, 8]
    assert second.observations[2, :, 0].tolist() == [2, 3, 4, 0, 1, 2, 3, 4]
    assert second.returns[2].tolist() == [5, 5]
    assert cohort.learner.count.tolist() == [6, 5, 4]


def test_budgets_are_exact_and_agents_that_are_done_wait() -> None:
    cohort = reinforce.make(SMALL, counter_context(agents=3, length=3))
    got = cohort.learn(np.array([7, 0, 4]))
    assert got.steps.tolist() == [7, 0, 4]
    assert got.observations.shape == (3, 7, 2)
    assert got.observations[0, :, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert got.observations[2, :, 0].tolist() == [0, 1, 2, 3, 0, 0, 0]
    assert not got.probs[1].any()
    assert [len(r) for r in got.returns] == [2, 0, 0]
    assert got.metrics["train/gradient_steps"].tolist() == [1, 0, 0]
    got = cohort.learn(np.array([2, 4, 1]))
    assert got.observations[0, :2, 0].tolist() == [1, 2]
    assert got.observations[1, :, 0].tolist() == [0, 1, 2, 3]
    assert got.observations[2, :1, 0].tolist() == [4]
    assert [n.tolist() for n in got.lengths] == [[3], [4], [5]]
    # whichever comes first, steps or episodes
    assert cohort.learn(np.array([100, 5, 100]), episodes=2).steps.tolist() == [6, 5, 10]


def test_nothing_to_do_changes_nothing() -> None:
    cohort = reinforce.make(SMALL, context(2))
    cohort.learn(np.array([30, 40]))
    before = cohort.state()
    for steps, episodes in ((0, None), (50, 0)):
        got = cohort.learn(np.full(2, steps), episodes)
        assert got.observations.shape == (2, 0, 4)
        assert got.probs.shape == (2, 0, 2)
    after = cohort.state()
    assert [name for name in before if not np.array_equal(before[name], after[name])] == []


@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1"])
def test_a_stretch_in_pieces_is_the_stretch(env: str) -> None:
    """Also: uniforms drawn ahead and not used are not lost, nor is half an episode."""
    whole, pieces = (reinforce.make(SMALL, context(2, env=env)) for _ in range(2))
    seen = whole.learn(np.array([300, 600]))
    parts = [pieces.learn(np.array(n)) for n in ((7, 130), (0, 1), (129, 0), (164, 469))]
    for k in range(2):
        for name in ("observations", "probs"):
            rows = [getattr(p, name)[k, : p.steps[k]] for p in parts]
            whole_rows = getattr(seen, name)[k, : seen.steps[k]]
            np.testing.assert_array_equal(np.concatenate(rows), whole_rows)
        ended = np.concatenate([p.lengths[k] for p in parts])
        np.testing.assert_array_equal(ended, seen.lengths[k])
    a, b = whole.state(), pieces.state()
    assert [name for name in a if not np.array_equal(a[name], b[name])] == []


@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1", "LunarLander-v3"])
def test_resume_is_exact_in_mid_episode(env: str) -> None:
    if env == "LunarLander-v3":
        pytest.importorskip("Box2D")
    one, other = (reinforce.make(SMALL, context(2, env=env)) for _ in range(2))
    one.learn(np.array([70, 45]))
    one.anchor(one.parameters(), 0.1)
    saved = one.state()
    assert saved["begun/actions"].shape[1] == saved["world/episode/lengths"].max() > 0
    other.learn(np.array([5, 9]))  # what it did before is forgotten
    other.load_state(saved)
    for cohort in (one, other):
        cohort.learn(np.array([0, 130]))
        cohort.learn(np.full(2, MANY), episodes=1)
        cohort.evaluate(2, 0)
    a, b = one.state(), other.state()
    assert sorted(a) == sorted(b)
    assert [name for name in a if not np.array_equal(a[name], b[name])] == []
    one.close()
    other.close()


def drive(options: Reinforce, rows: list[int], plan: list[list[int]], env: str) -> Any:
    """Learn by steps, distill, learn by episodes; return what is left, agent by agent."""
    cohort = reinforce.make(options, context(rows, env=env, spread=0.5))
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, (20, *cohort.observation_shape)).astype(np.float32)
    targets = rng.dirichlet(np.ones(cohort.n_actions), (4, 20)).astype(np.float32)[rows]
    weights = np.ones(targets.shape[:2])
    metrics = []
    for steps in plan:
        metrics.append(cohort.learn(np.array(steps)[rows]).metrics)
        cohort.distill(states, targets, weights, DistillSettings(steps=2, batch=8))
    seen = cohort.learn(np.full(len(rows), MANY), episodes=2)
    lengths = cohort.state()["world/episode/lengths"][:, 0]
    out = []
    for k in range(len(rows)):
        own = {name: a[k] for name, a in cohort.state().items() if not name.startswith("begun/")}
        own |= {n: a[k, : lengths[k]] for n, a in cohort.state().items() if n.startswith("begun/")}
        own |= {f"{i} {name}": a[k] for i, m in enumerate(metrics) for name, a in m.items()}
        own |= {"seen": seen.observations[k, : seen.steps[k]], "returns": seen.returns[k]}
        out.append(own | {"probs": seen.probs[k, : seen.steps[k]]})
    cohort.close()
    return out


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    hidden=st.lists(st.integers(1, 40), max_size=3).map(tuple),
    activation=st.sampled_from(["tanh", "relu", "elu"]),
    plan=st.lists(st.lists(st.integers(0, 200), min_size=4, max_size=4), max_size=3),
)
def test_an_agent_learns_alone_what_it_learns_in_company(
    hidden: tuple[int, ...], activation: Any, plan: list[list[int]]
) -> None:
    options = Reinforce(hidden=hidden, activation=activation, learning_rate=1e-2, lr_step=3)
    compare(options, plan, "CartPole-v1")


def compare(options: Reinforce, plan: list[list[int]], env: str) -> None:
    together = drive(options, [0, 1, 2, 3], plan, env)
    for rows in ([0], [3], [1, 2]):
        for row, apart in zip(rows, drive(options, rows, plan, env), strict=True):
            unequal = [n for n in apart if not np.array_equal(apart[n], together[row][n])]
            assert unequal == []


def test_three_actions_and_equal_episodes_alone_and_in_company() -> None:
    compare(Reinforce(hidden=(64, 64)), [[450, 200, 0, 10]], "MountainCar-v0")


@pytest.mark.parametrize(
    "options",
    [
        Reinforce(hidden=()),
        Reinforce(reduce="mean", normalize_returns=False, max_grad_norm=0.5),
        Reinforce(hidden=(8,), backend="torch"),
    ],
)
def test_the_checker_is_content(options: Reinforce) -> None:
    check_cohort(lambda c: reinforce.make(options, c))


def test_the_tape_grows_over_an_unfinished_episode() -> None:
    begun = {
        "observations": np.arange(12, dtype=np.float32).reshape(2, 3, 2),
        "actions": np.array([[1, 2, 3], [4, 0, 0]]),
        "rewards": np.array([[0.1, 0.2, 0.3], [0.4, 0, 0]]),
    }
    tape = Tape(begun, np.array([3, 1]), actions=2)
    assert tape.first == 3
    tape.reserve(5000)
    assert len(tape.observations) > 5000
    tape.actions[3] = [5, 6]
    assert tape.episode(0, 4, 4).actions.tolist() == [[1, 2, 3, 5]]
    assert tape.episode(1, 4, 2).rewards == [0.4, 0.0]
    assert tape.episode(1, 3, 1).observations.tolist() == [[[6, 7]]]
    kept = tape.unfinished(np.array([1, 0]), np.array([2, 1]))
    assert kept["actions"].tolist() == [[3, 5], [4, 0]]
    assert kept["observations"][1].tolist() == [[6, 7], [0, 0]]


def test_a_stretch_may_be_longer_than_the_tape_at_first() -> None:
    cohort = reinforce.make(SMALL, counter_context(length=2000))
    seen = cohort.learn(np.array([3000]))
    assert seen.observations[0, :, 0].tolist() == [*range(2000), *range(1000)]
    assert seen.probs[0].sum(1) == pytest.approx(1, abs=1e-6)


def test_probs_in_experience_are_those_at_visit_time() -> None:
    cohort, fresh = reinforce.make(SMALL, context(2)), reinforce.make(SMALL, context(2))
    seen = cohort.learn(np.array([60, 60]))
    for k, n in enumerate(seen.lengths[k][0] for k in range(2)):
        own = fresh.probs(seen.observations)[k]
        np.testing.assert_allclose(own[:n], seen.probs[k, :n], atol=1e-6)
        assert np.abs(own[n:] - seen.probs[k, n:]).max() > 1e-4


def test_there_is_no_value_network_to_send() -> None:
    cohort = reinforce.make(Reinforce(), context(2))
    size = 4 * 64 + 64 + 64 * 64 + 64 + 64 * 2 + 2
    assert cohort.parameters("all").shape == cohort.parameters("policy").shape == (2, size)
    assert cohort.parameters("optimizer").shape == (2, 2 * size + 1)
    with_value = ppo.make(PPO(), context(2))
    np.testing.assert_array_equal(cohort.parameters(), with_value.parameters("policy"))
    with pytest.raises(TypeError, match="no values"):
        cohort.learner.network.values(np.zeros((2, 1, 4), np.float32))


def test_it_is_a_cohort_that_cannot_be_pooled() -> None:
    cohort = reinforce.make(SMALL, context(1))
    assert isinstance(cohort, Cohort)
    assert not isinstance(cohort, Poolable)
    with pytest.raises(FdrlError, match="reinforce"):
        fdrl.Federation(fdrl.make_run(agents=2, steps=64, agent="reinforce", strategy="pooled"))


def test_bad_budgets_and_settings_are_named() -> None:
    cohort = reinforce.make(SMALL, context(2))
    for steps in ([16], [16, -2]):
        with fails(FdrlError, "steps"):
            cohort.learn(np.array(steps))
    for table in ({"n_envs": 2}, {"lr_gamma": 0.0}, {"lr_gamma": 1.1}, {"reduce": "max"}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"type": "reinforce"} | table, Reinforce)


def federation(**fields: Any) -> fdrl.Federation:
    table = {"type": "fedhpd", "every": 2, "unit": "episodes"} | fields.pop("strategy", {})
    proxy = {"type": "uniform", "size": 50}
    return fdrl.Federation(
        fdrl.make_run(agent="reinforce", strategy=table, proxy=proxy, steps=5000, **fields)
    )


def test_tiles_keep_unfinished_episodes_of_different_length() -> None:
    one, other = (
        build_cohort("fdrl.agents.reinforce:make", SMALL, context(4), tile=2) for _ in range(2)
    )
    whole = reinforce.make(SMALL, context(4))
    steps = np.array([3, 5, 130, 40])
    for cohort in (one, whole):
        cohort.learn(steps)
    other.load_state(one.state())
    for cohort in (one, other, whole):
        cohort.learn(steps[::-1])
    np.testing.assert_array_equal(one.parameters(), other.parameters())
    np.testing.assert_array_equal(one.parameters(), whole.parameters())
    for cohort in (one, other, whole):
        cohort.close()


def test_ten_different_networks_exchange_after_episodes_and_resume(tmp_path: Path) -> None:
    one, other = (federation(agents=10, networks="fedhpd", seed=1) for _ in range(2))
    assert len(one.clients) == 10
    record = one.round()
    assert record.episodes == [2] * 10
    assert record.exchanged
    file = tmp_path / "checkpoint.safetensors"
    save_checkpoint(file, Checkpoint(1, one.state(), "", 0, 0.0))
    other.load_state(load_checkpoint(file).state)
    assert one.round().returns == other.round().returns
    for a, b in zip(one.clients, other.clients, strict=True):
        np.testing.assert_array_equal(a.cohort.parameters(), b.cohort.parameters())
    rates = [c.cohort.settings.learning_rate for c in one.clients]
    assert rates[:3] == [1e-3, 2e-3, 4e-3]
    one.close()
    other.close()


@pytest.mark.parametrize("strategy", ["fedavg", "fd", "frd", "self"])
def test_other_methods_work_on_episodes_too(strategy: str) -> None:
    run = fdrl.make_run(agents=2, steps=300, agent=SMALL, strategy=strategy)
    made = fdrl.Federation(run)
    record = made.round()
    assert record.episodes == [run.strategy.every] * 2
    while not made.done:
        record = made.round()
    assert record.env_steps == [300, 300]
    made.close()


def test_it_learns_to_balance() -> None:
    cohort = reinforce.make(Reinforce(), context(3))
    before = cohort.evaluate(5, 0).mean()
    cohort.learn(np.full(3, MANY), episodes=200)
    assert before < 50
    assert cohort.learn(np.full(3, MANY), episodes=20).returns[0].mean() > 100
    assert cohort.evaluate(5, 0).mean() > 300


@pytest.mark.slow
def test_ten_agents_learn_to_balance() -> None:
    cohort = reinforce.make(Reinforce(hidden=(128,), activation="relu"), context(10))
    cohort.learn(np.full(10, MANY), episodes=600)
    assert cohort.evaluate(10, 0).mean() > 450


def test_distillation_with_the_learners_adam_has_its_decayed_rate() -> None:
    quick = Reinforce(hidden=(8,), learning_rate=1e-2, lr_step=1, lr_gamma=0.5)
    agents = reinforce.make(quick, context(2))
    agents.learn(np.full(2, MANY), 3)
    np.testing.assert_allclose(agents._policy_rates(), [1e-2 / 8] * 2)
    states = np.zeros((4, 4), np.float32)
    targets = np.tile(np.array([0.9, 0.1], np.float32), (2, 4, 1))
    before, count = agents.parameters(), agents.state()["optimizer/count"]
    lesson = DistillSettings(passes=1, batch=4, optimizer="learner", max_grad_norm=0.0)
    agents.distill(states, targets, np.ones((2, 4), np.float32), lesson)
    moved = np.abs(agents.parameters() - before)
    assert 0 < moved.max() < 3e-3  # Adam steps are about as large as the rate
    assert (agents.state()["optimizer/count"] == count + 1).all()
