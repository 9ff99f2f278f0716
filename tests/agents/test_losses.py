import numpy as np
import pytest
from fdrl.agents.losses import METRICS, ActorCriticLoss, log_softmax, softmax, total_loss


def one_row(clip: float | None, **change: float) -> ActorCriticLoss:
    """One agent, one row: action 0, advantage 2, target 1, old log-probability log 0.5."""
    values = {"advantage": 2.0, "old": np.log(0.5), "old_value": 0.0, **change}

    def array(x: float) -> np.ndarray:
        return np.array([[x]], np.float32)

    return ActorCriticLoss(
        actions=np.zeros((1, 1), np.int64),
        advantages=array(values["advantage"]),
        targets=array(1.0),
        old_log_probs=array(values["old"]),
        old_values=array(values["old_value"]),
        clip_range=clip,
        clip_range_vf=change.get("clip_vf"),
        ent_coef=change.get("ent_coef", 0.0),
        vf_coef=0.5,
    )


def run(
    objective: ActorCriticLoss, p: float, value: float
) -> tuple[np.ndarray, float, dict[str, float]]:
    logits = np.log(np.array([[[p], [1 - p]]], np.float32))
    values = np.array([[value]], np.float32)
    metrics = objective.gradient(logits, values, slice(0, 1))
    return logits[0, :, 0], float(values[0, 0]), dict(zip(METRICS, metrics[:, 0], strict=True))


def test_plain_policy_gradient_by_hand() -> None:
    # d(-2 log p)/dz = -2 (1 - p, -(1 - p)); d(0.5 (v - 1)^2)/dv = v - 1
    slope, value_slope, metrics = run(one_row(None), p=0.25, value=3.0)
    np.testing.assert_allclose(slope, [-1.5, 1.5], rtol=1e-6)
    assert value_slope == 2.0
    assert metrics["train/policy_gradient_loss"] == pytest.approx(-2 * np.log(0.25))
    assert metrics["train/value_loss"] == 4.0
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert metrics["train/entropy_loss"] == pytest.approx(-entropy, rel=1e-6)


def test_ratio_inside_the_range_counts() -> None:
    # ratio 0.55 / 0.5 = 1.1: loss -2.2, slope -2.2 (1 - 0.55)
    slope, _, metrics = run(one_row(0.2), p=0.55, value=1.0)
    np.testing.assert_allclose(slope, [-0.99, 0.99], rtol=1e-5)
    assert metrics["train/policy_gradient_loss"] == pytest.approx(-2.2, rel=1e-6)
    assert metrics["train/approx_kl"] == pytest.approx(0.1 - np.log(1.1), abs=1e-6)
    assert metrics["train/clip_fraction"] == 0


def test_a_good_action_grown_too_likely_has_no_slope() -> None:
    slope, _, metrics = run(one_row(0.2), p=0.75, value=1.0)
    np.testing.assert_array_equal(slope, [0, 0])
    assert metrics["train/policy_gradient_loss"] == pytest.approx(-2.4, rel=1e-6)
    assert metrics["train/clip_fraction"] == 1


def test_a_bad_action_grown_too_likely_is_still_pushed_down() -> None:
    slope, _, _ = run(one_row(0.2, advantage=-2.0), p=0.75, value=1.0)
    np.testing.assert_allclose(slope, [0.75, -0.75], rtol=1e-5)


def test_clipped_value_has_no_slope_outside_its_range() -> None:
    _, outside, metrics = run(one_row(0.2, clip_vf=0.5), p=0.5, value=3.0)
    assert outside == 0
    assert metrics["train/value_loss"] == 0.25  # (0 + 0.5 - 1)^2
    _, inside, _ = run(one_row(0.2, clip_vf=0.5), p=0.5, value=0.25)
    assert inside == -0.75


def test_entropy_bonus_pushes_toward_the_unlikely_action() -> None:
    slope, _, _ = run(one_row(None, advantage=0.0, ent_coef=1.0), p=0.25, value=1.0)
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    wanted = [0.25 * (np.log(0.25) + entropy), 0.75 * (np.log(0.75) + entropy)]
    np.testing.assert_allclose(slope, wanted, rtol=1e-5)
    assert slope[0] < 0  # descending raises the unlikely one


def test_softmax_survives_large_logits() -> None:
    logits = np.array([[[1e4], [0.0]]], np.float32)
    np.testing.assert_array_equal(softmax(logits)[0, :, 0], [1, 0])
    np.testing.assert_array_equal(log_softmax(logits)[0, :, 0], [0, -1e4])


def test_total_loss_is_sb3s_sum() -> None:
    metrics = np.array([[1.0], [2.0], [-3.0], [0.0], [0.0]])
    assert total_loss(metrics, 0.1, 0.5).tolist() == pytest.approx([1 - 0.3 + 1])
