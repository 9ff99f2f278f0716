"""Each agent's own randomness, although Stable-Baselines3 draws from global generators.

SB3 samples actions with torch's global generator, and shuffles and explores with NumPy's. Around
every call that may draw, an agent's own states of both are put in place, and afterwards the
process's are put back: agents do not disturb each other, nor anybody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]
KEY = 624
"""Words of a Mersenne Twister."""


class OwnRandomness:
    """The states of torch's and NumPy's global generators that belong to one agent."""

    def __init__(self, seed: np.random.SeedSequence) -> None:
        words = seed.generate_state(2)
        self._torch = torch.Generator().manual_seed(int(words[0])).get_state()
        self._numpy: Any = np.random.MT19937(int(words[1])).state

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Put the agent's states in place while the block runs."""
        before = torch.get_rng_state(), np.random.get_state(legacy=False)  # noqa: NPY002
        torch.set_rng_state(self._torch)
        np.random.set_state(self._numpy)  # noqa: NPY002
        try:
            yield
        finally:
            self._torch = torch.get_rng_state()
            self._numpy = np.random.get_state(legacy=False)  # noqa: NPY002
            torch.set_rng_state(before[0])
            np.random.set_state(before[1])  # noqa: NPY002

    def state(self) -> dict[str, Array]:
        """Return both states as arrays."""
        inner = self._numpy["state"]
        words = np.zeros(KEY + 2, np.uint32)
        words[:KEY], words[KEY] = inner["key"], inner["pos"]
        words[KEY + 1] = int(self._numpy.get("has_gauss", 0))
        gauss = np.array(float(self._numpy.get("gauss", 0.0)))
        return {"torch": self._torch.numpy().copy(), "numpy": words, "gauss": gauss}

    def load_state(self, state: dict[str, Array]) -> None:
        """Put back what `state` returned."""
        self._torch = torch.from_numpy(np.array(state["torch"], np.uint8))
        words = np.asarray(state["numpy"], np.uint32)
        self._numpy = {
            "bit_generator": "MT19937",
            "state": {"key": words[:KEY].copy(), "pos": int(words[KEY])},
            "has_gauss": int(words[KEY + 1]),
            "gauss": float(state["gauss"]),
        }
