"""What a federation of classifiers sends per agent, in bits, counted as the papers count.

Both directions, payload alone: 32 bits a parameter or probability, 8 bits a pixel of a seed sample
(Jeong et al. 2018, arXiv 1811.11479). Encoded messages have headers too, which the byte counts of
a run include.
"""

from __future__ import annotations

from fdrl.strategies.faug_generator import GeneratorLayout

FLOAT, BYTE = 32, 8


def fd_bits(labels: int, rounds: int) -> int:
    """Return the bits of FD: a mean answer per label, L x L, up and down in every round."""
    return 2 * rounds * labels * labels * FLOAT


def fl_bits(parameters: int, rounds: int) -> int:
    """Return the bits of federated averaging: P parameters up and down in every round."""
    return 2 * rounds * parameters * FLOAT


def cd_bits(samples: int, labels: int, rounds: int) -> int:
    """Return the bits of co-distillation: an answer to each common sample, up and down."""
    return 2 * rounds * samples * labels * FLOAT


def faug_bits(layout: GeneratorLayout, seeds: int) -> int:
    """Return the bits that FAug adds once: seed samples up, the generator down."""
    return seeds * layout.pixels * BYTE + layout.size * FLOAT
