"""What a member's federation takes for its cohort: some rows of a stack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from fdrl.core.abilities import METHODS, Given, profile, standing_in
from fdrl.core.arrays import Array
from fdrl.core.cohort import Cohort, Part
from fdrl.packs.members import Call, Member, PackBroken
from fdrl.packs.stack import Stack


class StackView:
    """The agents of one group of one run (a `Cohort`); it can do what they can (see `view`).

    Calls that can run together with other members' wait for them; those that are written out here
    act on the stack's rows at once. `make` builds the cohort that the run would have alone: its
    state is where the rows start.
    """

    def __init__(self, member: Member, group: int, own: Cohort, make: Callable[[], Cohort]) -> None:
        self.member, self.group, self.make = member, group, make
        self.profile = said = profile(own)
        self.ids, self.observation_shape, self.n_actions = (
            said.ids, said.observation_shape, said.n_actions,
        )  # fmt: skip
        self.iteration_steps, self.gaussian = said.iteration_steps, said.gaussian
        self.optimizer_squares = said.optimizer_squares
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

    def forward(self, name: str, given: Given) -> Any:
        """Call a method together with the other members."""
        if METHODS[name].alone:
            self._refuse(METHODS[name].alone)
        return self.member.ask(Call(self, name, given))

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
        if all(name in self.profile.late_state or a.shape[1:] == self.shapes.get(name)
               for name, a in state.items()):  # fmt: skip
            return {name: a.copy() for name, a in state.items()}
        # An array that grows is padded to the longest in the stack, which alone may be shorter.
        cohort = self.alone()
        try:
            return cohort.state()
        finally:
            cohort.close()

    def anchor(self, rows: Array | None, strength: float) -> None:
        """A stack has one strength for all, so a pack with anchors ends; None is what it has."""
        if rows is not None:
            self._refuse("anchors")

    def _refuse(self, what: str) -> NoReturn:
        reason = PackBroken(f"{what} cannot be packed", alone=True)
        self.member.ask(Call(self, "refuse", {"reason": reason}))
        raise AssertionError("a refused member goes on")  # pragma: no cover

    def close(self) -> None:
        """Nothing of its own is open, unless it never entered a stack."""
        if self.own is not None:
            self.own.close()
        self.own = None


def view(member: Member, group: int, own: Cohort, make: Callable[[], Cohort]) -> StackView:
    """Return the view that stands in for a cohort: with its abilities, and no others."""
    made: StackView = standing_in(StackView, profile(own).abilities)(member, group, own, make)
    return made


def as_cohort(view: StackView) -> Cohort:
    """Say to type checkers what a view is, once its methods are there."""
    return cast(Cohort, view)
