"""The agents' half of a federation, for a process of its own."""

import fdrl
from fdrl.federation import groups
from fdrl.federation.build import cohort_facts, make_clients
from fdrl.federation.client import Embedded

CASES = {
    "fd": {"proxy": {"type": "mix", "size": 32, "refresh": 2}},
    "fd with values": {
        "strategy": {"type": "fd", "values": True},
        "proxy": {"type": "mix", "size": 32, "refresh": 2},
    },
    "frd": {},
    "fedavg": {"strategy": {"type": "fedavg", "optimizer": "average", "weights": "return"}},
    "mixed": {
        "strategy": "fd",
        "cohorts": (
            {"agents": 2, "agent": {"type": "ppo", "hidden": (8,), "n_epochs": 2}},
            {"agents": 1, "agent": {"type": "a2c", "hidden": (16, 4)}},
        ),
    },
}


def run_of(case):
    fields = {"strategy": case, "agents": 3, "steps": 1024, "seed": 3} | CASES[case]
    if case != "mixed":
        fields["agent"] = {"type": "ppo", "n_epochs": 2}
    return fdrl.make_run(**fields)


def agents_side(case, pipe):
    """Serve the agents of a run until the pipe closes; runs in a process of its own."""
    clients = make_clients(run_of(case))
    transport = Embedded(clients, groups.agent_ids(3))
    found = zip(clients, groups.groups(run_of(case)), strict=True)
    pipe.send([cohort_facts(c.cohort, g.settings) for c, g in found])
    while (request := pipe.recv()) is not None:
        verb, *arguments = request
        pipe.send(getattr(transport, verb)(*arguments))
    pipe.send([c.cohort.parameters("all") for c in clients])
