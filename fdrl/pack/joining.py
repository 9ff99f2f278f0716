"""How members come together: ordinary federations whose cohorts become rows of stacks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fdrl import build
from fdrl.abilities import alone, profile
from fdrl.config import Run
from fdrl.federation import Federation
from fdrl.pack.members import Call, Collapsed, Member
from fdrl.pack.stack import Stack, joined_context, joined_states
from fdrl.pack.view import as_cohort, view
from fdrl.records import RoundRecord
from fdrl.team import Teams

TILE_FLOATS = 400_000
"""Parameters of the agents of a stack, at most: some forty agents of 64x64 units, which cost
no more each than ten do; a thousand of 24 units. Not tuned any further."""


class Packed(Federation):
    """A federation whose agents live in a pack's stacks; its seconds are a share of all."""

    def __init__(self, run: Run, member: Member) -> None:
        super().__init__(run)
        if isinstance(self.envs, Teams):
            self.close()
            raise Collapsed("agents that share a world cannot be packed", alone=True)
        for client in self.clients:
            if why := alone(profile(client.cohort).abilities):
                self.close()
                raise Collapsed(f"{why} cannot be packed", alone=True)
        self.member = member
        found = build.groups(self.run)
        self.views = []
        for index, (client, group) in enumerate(zip(self.clients, found, strict=True)):
            make = partial(build.make_cohort, self.run, group, self.envs)
            self.views.append(view(member, index, client.cohort, make))
            client.cohort = as_cohort(self.views[-1])
        try:
            member.ask(Call(self, "join"))
        except BaseException:
            self.close()
            raise

    def _record(
        self, exchanged: bool, rejected: list[tuple[str, str]], seconds: dict[str, float]
    ) -> RoundRecord:
        return super()._record(exchanged, rejected, self.member.clock.lap())


def join(members: Sequence[Member]) -> list[Stack]:
    """Build the stacks of members that wait in `Packed`; whoever ended before is not among them."""
    stacks = []
    federations: list[Packed] = [m.call.view for m in members if m.call is not None]
    for index, group in enumerate(build.groups(federations[0].run) if federations else []):
        each = len(group.agents)
        floats = sum(federations[0].parameters[i] for i in federations[0].views[index].ids)
        size = max(1, TILE_FLOATS // max(1, floats))
        for start in range(0, len(federations), size):
            some = federations[start : start + size]
            groups = [build.groups(f.run)[index] for f in some]
            context = joined_context(
                [f.run for f in some],
                groups,
                [f.envs for f in some if not isinstance(f.envs, Teams)],
            )
            views = [f.views[index] for f in some]
            own = [v.own for v in views if v.own is not None]
            late = views[0].profile.late_state
            stack = Stack(group, context, joined_states([c.state() for c in own], late))
            stacks.append(stack)
            for i, one in enumerate(views):
                one.enter(stack, slice(i * each, (i + 1) * each))
    return stacks
