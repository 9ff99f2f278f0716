"""Power control for values that add up in the air: truncated channel inversion. Pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def transmitters(gains: Array, threshold: float) -> NDArray[np.bool_]:
    """Return who sends [U]: those whose fading gain |h|^2 is no lower than the threshold.

    To invert a deep fade would cost more power than there is (truncated channel inversion).
    """
    return np.asarray(np.asarray(gains) >= threshold)


def common_scale(energies: Array, gains: Array, budget: float) -> float:
    """Return the largest a for which all can send a x_u / h_u with at most `budget` energy.

    `energies` [U] are |x_u|^2, `gains` [U] |h_u|^2 > 0. All must arrive with the same a, or their
    sum would be no mean; the weakest decides [choice]. 1 if nobody has anything to say.
    """
    cost = float((np.asarray(energies) / np.asarray(gains)).max(initial=0.0))
    return float(np.sqrt(budget / cost)) if cost > 1e-200 else 1.0


def over_the_air(vectors: Array, scale: float, noise: Array) -> NDArray[np.float64]:
    """Return the server's estimate of the sum [d] of `vectors` [U, d], noise [d] included."""
    received = scale * np.asarray(vectors, np.float64).sum(0) + noise
    return np.asarray(received / scale)
