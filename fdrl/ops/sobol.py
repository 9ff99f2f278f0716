"""Sobol's low-discrepancy sequence, so that agents can rebuild the same points from a seed.

Direction numbers of Joe and Kuo (2008, "Constructing Sobol sequences with better two-dimensional
projections", table new-joe-kuo-6), for the first 64 dimensions. Own code because every machine of
a federation must get the same bits whatever its version of torch or scipy.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.core.errors import FdrlError

BITS = 32

# One entry a dimension, from the second on: the primitive polynomial, the initial numbers m.
# fmt: off
_JOE_KUO = (
    (3, 1), (7, 1, 3), (11, 1, 3, 1), (13, 1, 1, 1), (19, 1, 1, 3, 3), (25, 1, 3, 5, 13),
    (37, 1, 1, 5, 5, 17), (41, 1, 1, 5, 5, 5), (47, 1, 1, 7, 11, 19), (55, 1, 1, 5, 1, 1),
    (59, 1, 1, 1, 3, 11), (61, 1, 3, 5, 5, 31), (67, 1, 3, 3, 9, 7, 49), (91, 1, 1, 1, 15, 21, 21),
    (97, 1, 3, 1, 13, 27, 49), (103, 1, 1, 1, 15, 7, 5), (109, 1, 3, 1, 15, 13, 25),
    (115, 1, 1, 5, 5, 19, 61), (131, 1, 3, 7, 11, 23, 15, 103), (137, 1, 3, 7, 13, 13, 15, 69),
    (143, 1, 1, 3, 13, 7, 35, 63), (145, 1, 3, 5, 9, 1, 25, 53), (157, 1, 3, 1, 13, 9, 35, 107),
    (167, 1, 3, 1, 5, 27, 61, 31), (171, 1, 1, 5, 11, 19, 41, 61), (185, 1, 3, 5, 3, 3, 13, 69),
    (191, 1, 1, 7, 13, 1, 19, 1), (193, 1, 3, 7, 5, 13, 19, 59), (203, 1, 1, 3, 9, 25, 29, 41),
    (211, 1, 3, 5, 13, 23, 1, 55), (213, 1, 3, 7, 3, 13, 59, 17), (229, 1, 3, 1, 3, 5, 53, 69),
    (239, 1, 1, 5, 5, 23, 33, 13), (241, 1, 1, 7, 7, 1, 61, 123), (247, 1, 1, 7, 9, 13, 61, 49),
    (253, 1, 3, 3, 5, 3, 55, 33), (285, 1, 3, 1, 15, 31, 13, 49, 245),
    (299, 1, 3, 5, 15, 31, 59, 63, 97), (301, 1, 3, 1, 11, 11, 11, 77, 249),
    (333, 1, 3, 1, 11, 27, 43, 71, 9), (351, 1, 1, 7, 15, 21, 11, 81, 45),
    (355, 1, 3, 7, 3, 25, 31, 65, 79), (357, 1, 3, 1, 1, 19, 11, 3, 205),
    (361, 1, 1, 5, 9, 19, 21, 29, 157), (369, 1, 3, 7, 11, 1, 33, 89, 185),
    (391, 1, 3, 3, 3, 15, 9, 79, 71), (397, 1, 3, 7, 11, 15, 39, 119, 27),
    (425, 1, 1, 3, 1, 11, 31, 97, 225), (451, 1, 1, 1, 3, 23, 43, 57, 177),
    (463, 1, 3, 7, 7, 17, 17, 37, 71), (487, 1, 3, 1, 5, 27, 63, 123, 213),
    (501, 1, 1, 3, 5, 11, 43, 53, 133), (529, 1, 3, 5, 5, 29, 17, 47, 173, 479),
    (539, 1, 3, 3, 11, 3, 1, 109, 9, 69), (545, 1, 1, 1, 5, 17, 39, 23, 5, 343),
    (557, 1, 3, 1, 5, 25, 15, 31, 103, 499), (563, 1, 1, 1, 11, 11, 17, 63, 105, 183),
    (601, 1, 1, 5, 11, 9, 29, 97, 231, 363), (607, 1, 1, 5, 15, 19, 45, 41, 7, 383),
    (617, 1, 3, 7, 7, 31, 19, 83, 137, 221), (623, 1, 1, 1, 3, 23, 15, 111, 223, 83),
    (631, 1, 1, 5, 13, 31, 15, 55, 25, 161), (637, 1, 1, 3, 13, 25, 47, 39, 87, 257),
)
# fmt: on
MAX_DIMENSIONS = len(_JOE_KUO) + 1


@cache
def _directions(dimension: int) -> tuple[int, ...]:
    """Return the direction numbers v[0..31] of one dimension, each of 32 bits."""
    if dimension == 0:
        return tuple(1 << (BITS - 1 - i) for i in range(BITS))
    polynomial, *m = _JOE_KUO[dimension - 1]
    degree = len(m)
    for i in range(degree, BITS):
        new = m[i - degree] ^ (m[i - degree] << degree)
        for k in range(1, degree):
            if polynomial >> (degree - k) & 1:
                new ^= m[i - k] << k
        m.append(new)
    return tuple(number << (BITS - 1 - i) for i, number in enumerate(m))


def sobol(count: int, dimensions: int, shift: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """Return the first `count` points of the sequence in [0, 1), [count, dimensions].

    `shift` [dimensions] of 32-bit integers scrambles by a digital shift: every coordinate's bits
    are xored with it, which keeps the net's balance and moves its point 0 off the corner.
    """
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise FdrlError(
            f"sobol: {dimensions} dimensions, but there are direction numbers for 1 to"
            f" {MAX_DIMENSIONS}; use 'rollout', 'uniform' or 'file' proxies"
        )
    index = np.arange(count, dtype=np.uint64)
    gray = index ^ (index >> np.uint64(1))
    points = np.zeros((count, dimensions), dtype=np.uint64)
    numbers = np.array([_directions(d) for d in range(dimensions)], dtype=np.uint64)
    for bit in range(max(count - 1, 0).bit_length()):
        chosen = (gray >> np.uint64(bit)) & np.uint64(1)
        points ^= chosen[:, None] * numbers[:, bit]
    if shift is not None:
        points ^= np.asarray(shift, dtype=np.uint64)
    return points / 2.0**BITS
