"""What a member's federation takes for its cohort: some rows of a stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fdrl.cohort import Cohort, Episodes, Experience, Part, is_gaussian
from fdrl.distill import DistillSettings
from fdrl.pack.members import Call, Collapsed, Member
from fdrl.pack.stack import LATE, Stack

Array = NDArray[Any]
Metrics = dict[str, NDArray[np.float64]]


class View:
    """The agents of one group of one run (a `Cohort`).

    Calls that can run together with other members' wait for them; the others act on the stack's
    rows at once. `make` builds the cohort that the run would have alone: its state is where the
    rows start.
    """

    def __init__(self, member: Member, group: int, own: Cohort, make: Callable[[], Cohort]) -> None:
        self.member, self.group, self.make = member, group, make
        self.ids, self.n_actions = own.ids, own.n_actions
        self.gaussian = is_gaussian(own)
        self.observation_shape = own.observation_shape
        self.iteration_steps = own.iteration_steps
        self.shapes = {name: a.shape[1:] for name, a in own.state().items()}
        self.own: Cohort | None = own
        self.stack: Stack
        self.rows = slice(0)

    def enter(self, stack: Stack, rows: slice) -> None:
        """Live in these rows of a stack from now on."""
        self.stack, self.rows = stack, rows
        if self.own is not None:
            self.own.close()
        self.own = None

    def _ask(self, method: str, *args: Any) -> Any:
        return self.member.ask(Call(self, method, args))

    def learn(self, steps: NDArray[np.int64], episodes: Episodes = None) -> Experience:
        """Learn together with the other members."""
        result: Experience = self._ask("learn", steps, episodes)
        return result

    def probs(self, states: Array) -> NDArray[np.float32]:
        """Answer together with the other members."""
        result: NDArray[np.float32] = self._ask("probs", states)
        return result

    def distill(
        self, states: Array, targets: Array, weights: Array, settings: DistillSettings
    ) -> Metrics:
        """Distill together with the other members."""
        result: Metrics = self._ask("distill", states, targets, weights, settings)
        return result

    def evaluate(
        self, episodes: int, seed: int, *, held_out: bool = False, greedy: bool = True
    ) -> NDArray[np.float64]:
        """Play together with the other members."""
        result: NDArray[np.float64] = self._ask("evaluate", episodes, seed, held_out, greedy)
        return result

    def alone(self) -> Cohort:
        """Build the cohort that these agents would be alone, as they are now; close it after."""
        cohort = self.make()
        cohort.load_state({name: a.copy() for name, a in self._slices().items()})
        return cohort

    def _slices(self) -> dict[str, Array]:
        return {name: a[self.rows] for name, a in self.stack.cohort.state().items()}

    def parameters(self, part: Part = "all") -> NDArray[np.float32]:
        """Return [K, P], a copy."""
        return self.stack.cohort.parameters(part)[self.rows].copy()

    def load_parameters(self, rows: Array, part: Part = "all") -> None:
        """Overwrite a part with `rows` [K, P]."""
        everyone = self.stack.cohort.parameters(part)
        everyone[self.rows] = rows
        self.stack.cohort.load_parameters(everyone, part)

    def state(self) -> dict[str, Array]:
        """Return what the cohort would return alone, padding included."""
        state = self._slices()
        if all(name.startswith(LATE) or a.shape[1:] == self.shapes.get(name)
               for name, a in state.items()):  # fmt: skip
            return {name: a.copy() for name, a in state.items()}
        # An array that grows is padded to the longest in the stack, which alone may be shorter.
        cohort = self.alone()
        try:
            return cohort.state()
        finally:
            cohort.close()

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state` returned."""
        self._ask("load_state", state)

    def anchor(self, rows: Array | None, strength: float) -> None:
        """A stack has one strength for all, so a pack with anchors ends; None is what it has."""
        if rows is not None:
            self._refuse("anchors")

    def collect(self, steps: NDArray[np.int64]) -> NoReturn:
        """A pool's learner lives at its server: such runs go on alone."""
        self._refuse("pooled learning")

    def update(self, transitions: Mapping[str, Array]) -> NoReturn:
        """See `collect`."""
        self._refuse("pooled learning")

    def _refuse(self, what: str) -> NoReturn:
        self.member.ask(Call(self, "refuse", (Collapsed(f"{what} cannot be packed", alone=True),)))
        raise AssertionError("a refused member goes on")  # pragma: no cover

    def close(self) -> None:
        """Nothing of its own is open, unless it never entered a stack."""
        if self.own is not None:
            self.own.close()
        self.own = None


class ValuedView(View):
    """The same of agents that estimate values (a `fdrl.cohort.Valued`)."""

    def values(self, states: Array) -> NDArray[np.float32]:
        """Estimate values together with the other members."""
        result: NDArray[np.float32] = self._ask("values", states)
        return result

    def distill_values(
        self, states: Array, targets: Array, weights: Array, settings: DistillSettings
    ) -> Metrics:
        """Distill values together with the other members."""
        result: Metrics = self._ask("distill_values", states, targets, weights, settings)
        return result
