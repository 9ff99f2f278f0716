"""The experiment of `fdrl theory` made tiny; a process runs it once."""

from functools import cache

from fdrl.theory import experiment
from fdrl.theory.experiment import Results
from fdrl.theory.problem import Theory

TINY = Theory(samples=6, inputs=3, widths=(16, 64), seeds=2, workers=3, period=4, steps=25)


@cache
def tiny_results() -> Results:
    """Return its results; nobody may change their arrays."""
    return experiment.run(TINY)
