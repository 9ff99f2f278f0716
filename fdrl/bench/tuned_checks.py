"""Whether tuned values belong to their suite, and are the best of those that were tried."""

from __future__ import annotations

from collections.abc import Iterator

from fdrl.bench.grid import described, untuned
from fdrl.bench.suite import Suite, listed
from fdrl.bench.tuned import Best, Tuned


def check_tuned(suite: Suite, tuned: Tuned) -> Iterator[str]:
    """Yield what makes tuned values an unfair choice."""
    both = sorted({*tuned.seeds} & {*suite.evaluation_seeds})
    if both:
        yield f"seeds {', '.join(map(str, both))} were used for tuning and for evaluation"
    if {*tuned.seeds} != {*listed(suite.tuning_seeds)}:
        yield "the values were tuned on other seeds than the suite's tuning_seeds"
    for where in untuned(suite, tuned):
        yield f"no tuned values of {where}, though there is a grid and others are tuned"
    grids = {(s.name, m.name): suite.grid_of(s, m) for s in suite.settings for m in suite.methods}
    for best in tuned.best:
        grid = grids.get((best.setting, best.method))
        for name, value in best.values.items():
            if grid is not None and value not in grid.get(name, ()):
                where = f"{best.method} in {best.setting}"
                yield f"tuned {name} = {value} of {where} is not in the suite's grid"
        yield from _check_best(best)


def _check_best(best: Best) -> Iterator[str]:
    """Yield if others of the values that were tried did better than the ones chosen."""
    if not best.tried:
        return
    where = f"tuned values of {best.method} in {best.setting}: {described(best.values)}"
    own = [t.score for t in best.tried if t.values == best.values]
    top = max(best.tried, key=lambda t: t.score)
    if not own:
        yield f"{where} are not among those that were tried"
    elif max(own) < top.score:
        yield f"{where} scored {max(own)}, but {described(top.values)} scored {top.score}"
