"""What must hold before any test is imported (one thread a process, Box2D's import); order."""

import contextlib
import os
import warnings
from pathlib import Path

import pytest

from fdrl.core.threads import THREAD_VARIABLES

# Pools of threads spin: two of them on the cores of two test workers take ten times as long.
for _name in THREAD_VARIABLES:
    os.environ.setdefault(_name, "1")

# Box2D's import warns about its own bindings; where warnings are errors that crashes Python.
with warnings.catch_warnings(), contextlib.suppress(ImportError):
    warnings.simplefilter("ignore")
    import Box2D  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of whole programs first: they take longest, and nobody waits for the last."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.parent != here)
