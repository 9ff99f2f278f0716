"""The server in one process, the agents in another, nothing between them but encoded messages."""

import multiprocessing

import numpy as np
import pytest
from agents_side import CASES, agents_side, run_of

import fdrl
from fdrl.core.strategy import ServerContext
from fdrl.federation.build import make_server
from fdrl.federation.server import Server


@pytest.mark.parametrize("case", CASES)
def test_apart_equals_together_to_the_bit(case):
    run = run_of(case)
    together = fdrl.Federation(run)
    while not together.done:
        together.round()

    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=agents_side, args=(case, there), daemon=True)
    process.start()
    there.close()  # so that a dead child ends the test instead of hanging it
    server = make_server(run, here.recv())

    def call(verb, *arguments):
        here.send((verb, *arguments))
        return here.recv()

    def tell(number, messages):
        assert all(isinstance(m, bytes) for m in messages.values())
        return call("tell", number, messages)

    tell(0, server.announce())
    for number in range(1, together.rounds_done + 1):
        answers = call("ask", number)
        tell(number, server.aggregate(number, answers))
        assert server.rejected == []
    here.send(None)
    for rows, client in zip(here.recv(), together.clients, strict=True):
        np.testing.assert_array_equal(rows, client.cohort.parameters("all"))
    process.join(10)
    assert process.exitcode == 0
    together.close()


def test_server_halves_are_built_without_a_cohort():
    """A server half needs no agents in its process (`trainer` is the one declared exception)."""
    run = run_of("fd")
    context = ServerContext(
        run, ("a", "b", "c"), np.zeros(4, np.float32), np.ones(4, np.float32), 2
    )
    from fdrl.strategies.distillation.server import Server as Half

    opening = Server(Half(context), context.ids).announce()
    assert set(opening) == {"a", "b", "c"}
    assert all(isinstance(m, bytes) for m in opening.values())
