"""Diagonal Gaussians: their divergences, their gradients, and combining them. Pure functions.

Shapes: D action dimensions, U agents that answered, N states. A policy's answer to a state is one
row of 2D numbers, its moments: D means, then D standard deviations. What a network puts out has
logarithms of standard deviations in their place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Array, Doubles
from fdrl.core.errors import FdrlError
from fdrl.core.settings import Loss

NARROWEST = 0.1
"""Least standard deviation, in medians over the agents, that `product` takes an answer for.

Without it one agent that is sure would overrule all others, however little it weighs: precision
grows without bound as the standard deviation falls.
"""


def halves(rows: Array) -> tuple[Array, Array]:
    """Return the first D and the last D of rows [..., 2D], as views."""
    d = rows.shape[-1] // 2
    return rows[..., :d], rows[..., d:]


def moments(outputs: Array) -> Array:
    """Return [..., 2D] with the logarithms of standard deviations exponentiated."""
    mean, log_std = halves(outputs)
    return np.concatenate([mean, np.exp(log_std)], axis=-1)


def kl(p: Array, q: Array) -> Doubles:
    """KL(p || q) [...] in nats between rows of moments [..., 2D].

    The sum over dimensions of log(q/p) + (p**2 + (difference of means)**2) / (2 q**2) - 1/2,
    p and q standing for the standard deviations (Kullback and Leibler, 1951).
    """
    mean_p, std_p = halves(np.asarray(p, dtype=np.float64))
    mean_q, std_q = halves(np.asarray(q, dtype=np.float64))
    spread = (std_p**2 + (mean_p - mean_q) ** 2) / (2 * std_q**2)
    return np.asarray((np.log(std_q / std_p) + spread - 0.5).sum(-1))


def entropy(rows: Array) -> Doubles:
    """Differential entropy [...] in nats of rows of moments [..., 2D]."""
    _, std = halves(np.asarray(rows, dtype=np.float64))
    return np.asarray((0.5 + 0.5 * np.log(2 * np.pi) + np.log(std)).sum(-1))


def loss_and_gradient(
    outputs: Array, targets: Array, weights: Array, loss: Loss = "forward"
) -> tuple[Array, Array]:
    """Return each agent's loss [K] and its gradient at the outputs [K, B, 2D].

    `outputs` are means and logarithms of standard deviations, `targets` moments [K, B, 2D]. The
    loss is the mean over B, with `weights` [K, B], of KL(target || policy) ("forward") or
    KL(policy || target) ("reverse"); 0 without any weight. There is no closed form of the
    Jensen-Shannon divergence: "js" raises `FdrlError`.
    """
    mean, log_std = halves(outputs)
    target, target_std = halves(np.asarray(targets, dtype=outputs.dtype))
    std, away = np.exp(log_std), mean - target
    ratio = np.log(std / target_std)
    if loss == "forward":
        over = away / std**2
        spread = (target_std / std) ** 2 + away * over
        each, slopes = ratio + spread / 2, (over, 1 - spread)
    elif loss == "reverse":
        over = away / target_std**2
        spread = (std / target_std) ** 2
        each, slopes = (spread + away * over) / 2 - ratio, (over, spread - 1)
    else:
        raise FdrlError(f"distill.loss is {loss!r}, but continuous actions need forward or reverse")
    total = weights.sum(1, keepdims=True)
    share = (weights / np.where(total > 0, total, 1)).astype(outputs.dtype, copy=False)
    gradient = np.concatenate(slopes, axis=-1) * share[..., None]
    return ((each - 0.5).sum(-1) * share).sum(1), gradient


def mixture(answers: Array, weights: Array) -> Doubles:
    """Return the moments [N, 2D] of the mixture of answers [U, N, 2D]: the linear opinion pool.

    The mean is the mean of means; the variance is the mean of variances plus the variance of means
    (the law of total variance), so the Gaussian is the closest to the mixture in KL(mixture || .).
    `weights` [U, N] need not be normalized; rows without weight are the plain mixture.
    """
    mean, std = halves(np.asarray(answers, dtype=np.float64))
    share = _shares(weights)[..., None]
    center = (share * mean).sum(0)
    variance = (share * (std**2 + (mean - center) ** 2)).sum(0)
    return np.concatenate([center, np.sqrt(variance)], axis=-1)


def product(answers: Array, weights: Array) -> Doubles:
    """Return prod_u N_u**w[u,n] renormalized, [N, 2D]: the logarithmic opinion pool.

    With w normalized over agents it is a Gaussian whose precision is the mean of precisions and
    whose mean is the precision-weighted mean of means (product of experts, Hinton 2002, with
    weights that add up to 1, so that agreeing does not sharpen). `weights` [U, N] need not be
    normalized; rows without weight count all answers alike.
    """
    mean, std = halves(np.asarray(answers, dtype=np.float64))
    share = _shares(weights)[..., None]
    floor = NARROWEST * np.nanmedian(np.where(share > 0, std, np.nan), axis=0)
    precision = share / np.maximum(std, floor) ** 2
    total = precision.sum(0)
    return np.concatenate([(precision * mean).sum(0) / total, total**-0.5], axis=-1)


def _shares(weights: Array) -> Doubles:
    """Return weights [U, N] normalized over agents; equal where nobody has any."""
    w = np.asarray(weights, dtype=np.float64)
    total = w.sum(0)
    return np.where(total > 0, w / np.where(total > 0, total, 1), 1 / len(w))


def sharpen(rows: Array, power: float) -> Doubles:
    """Return N**b renormalized, [N, 2D]: the same mean, the variance divided by b."""
    mean, std = halves(np.asarray(rows, dtype=np.float64))
    return np.concatenate([mean, std / np.sqrt(power)], axis=-1)


def mean_by(rows: Array, groups: NDArray[np.int64], count: int) -> Doubles:
    """Return the moments [count, 2D] of the mixture of the rows [M, 2D] of each of `count` groups.

    `groups` [M] says which group a row belongs to; none may be empty.
    """
    mean, std = halves(np.asarray(rows, dtype=np.float64))
    times = np.bincount(groups, minlength=count)[:, None]
    center, variance = np.zeros((2, count, mean.shape[1]))
    np.add.at(center, groups, mean)
    center /= times
    np.add.at(variance, groups, std**2 + (mean - center[groups]) ** 2)
    return np.concatenate([center, np.sqrt(variance / times)], axis=-1)
