"""Rounds: all of a federation, or one exchange of the distillation engine's two halves."""

from fdrl.wire.codec import decode, encode

TWO_STATES = {"type": "uniform", "size": 2}
ANSWERS = [  # three agents, two proxies, two actions
    [[1.0, 0.0], [0.5, 0.5]],
    [[0.0, 1.0], [0.5, 0.5]],
    [[0.5, 0.5], [0.0, 1.0]],
]
FLOAT = {"type": "fd", "coding": "float32", "visit_power": 0.0, "combine": "mean"}


def receive(client, cohort, messages, round):
    """Check every message as the agents' side does, then apply them."""
    for name, message in messages.items():
        client.check(cohort, message, name, round)
    return client.download(cohort, messages, round)


def through_bytes(messages):
    return {name: decode(encode(m)) for name, m in messages.items()}


def one_round(client, server, cohort, seen, drop=()):
    up = through_bytes(client.upload(cohort, seen, 1))
    for name, message in up.items():
        server.check(message, name, 1)
    up = {name: m for name, m in up.items() if name not in drop}
    down = through_bytes(server.aggregate(1, up))
    receive(client, cohort, down, 1)
    return up, down


def records(federation):
    """Train to the end; return what each round's record says."""
    found = []
    while not federation.done:
        found.append(federation.round())
    federation.close()
    return found
