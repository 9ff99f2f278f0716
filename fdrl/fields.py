"""What a message holds, read field by field; and the recipe of proxies as text."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdrl.coding import uncode_cells, uncode_states
from fdrl.errors import BadMessage
from fdrl.payload import Recipe
from fdrl.value_coding import uncode_values
from fdrl.wire import require

Array = NDArray[Any]

_DIGITS = re.compile(r"0|[1-9][0-9]{0,15}")
_INTEGER = re.compile(r"-?[0-9]{1,40}")


class Fields:
    """Metadata and tensors, taken out one by one; what is left at the end is an error."""

    def __init__(self, metadata: dict[str, str], tensors: dict[str, Array]) -> None:
        self.metadata = metadata
        self.tensors = tensors

    def text(self, key: str) -> str:
        """Take a word; empty if there is none."""
        return self.metadata.pop(key, "")

    def integer(self, key: str, default: str = "") -> int:
        """Take a whole number, written in the one way there is."""
        text = self.metadata.pop(key, default)
        require(bool(_DIGITS.fullmatch(text)), f"field {key!r} is not an integer: {text[:40]!r}")
        return int(text)

    def score(self) -> float | None:
        """Take an agent's return, if it is told."""
        text = self.metadata.pop("s", None)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            raise BadMessage(f"score is not a number: {text[:40]!r}") from None
        require(f"{value:.6g}" == text, f"score is not a number: {text[:40]!r}")
        return value

    def tensor(self, name: str, *dtypes: str) -> Array | None:
        """Take an array of one of `dtypes`; None if there is none."""
        array = self.tensors.pop(name, None)
        if array is not None:
            require(array.dtype.name in dtypes, f"tensor {name!r} must not be {array.dtype}")
        return array

    def states(self) -> NDArray[np.float32] | None:
        """Take states, which may travel as bytes."""
        data = self.tensor("x", "float32", "uint8")
        return None if data is None else uncode_states(data)

    def values(self, coding: str) -> NDArray[np.float32] | None:
        """Take value estimates in a coding."""
        data = self.tensor("b", coding)
        return None if data is None else uncode_values(data)

    def cells(self, name: str) -> NDArray[np.int64] | None:
        """Take numbers of grid cells."""
        data = self.tensor(name, "uint8")
        return None if data is None else uncode_cells(data)

    def finish(self) -> None:
        """Raise `BadMessage` if anything is left."""
        left = [*self.metadata, *self.tensors]
        require(not left, f"unknown field {left[0][:40]!r}" if left else "")


def write_recipe(recipe: Recipe) -> str:
    """Write ``kind=mix size=256 wide=0.5``; words start with a letter, so numbers need no mark."""
    return " ".join(f"{key}={value}" for key, value in recipe.items())


def read_recipe(text: str) -> Recipe:
    """Read what `write_recipe` wrote; raises `BadMessage`."""
    recipe: Recipe = {}
    for item in text.split(" ") if text else ():
        key, equals, value = item.partition("=")
        require(equals == "=" and value != "" and key not in recipe, f"bad recipe {text[:80]!r}")
        try:
            if value[0].isalpha():
                recipe[key] = value
            else:
                recipe[key] = int(value) if _INTEGER.fullmatch(value) else float(value)
        except ValueError:
            raise BadMessage(f"bad recipe value {value[:40]!r}") from None
    return recipe
