"""Strategies that each break one rule, for the checker's tests."""

from fdrl.strategies.fedavg import Client, FedAvg, Server


class Forgetful(FedAvg, tag="forgetful", tag_field="type", frozen=True, kw_only=True):
    """Settings of a method that loses its memory on resume."""

    weights: str = "return"


class ForgetfulClient(Client):
    """Scales what it uploads by a counter that it does not save."""

    calls = 0

    def upload(self, cohort, experience, round):
        self.calls += 1
        cohort.load_parameters(cohort.parameters("all") * (1 + 0.1 * self.calls), "all")
        return super().upload(cohort, experience, round)


class Credulous(FedAvg, tag="credulous", tag_field="type", frozen=True, kw_only=True):
    """Settings of a method whose server believes everything."""


class CredulousServer(Server):
    """Accepts any message."""

    def check(self, message, agent, round):
        return None


class Ordered(FedAvg, tag="ordered", tag_field="type", frozen=True, kw_only=True):
    """Settings of a method that remembers who was checked first."""


class OrderedServer(Server):
    """Lets the agent that was accepted first win."""

    def aggregate(self, round, messages):
        first = next(iter(messages.values()), None)
        return {} if first is None else dict.fromkeys(self.context.ids, first)


class Untagged(FedAvg, tag="something", tag_field="type", frozen=True, kw_only=True):
    """Settings whose tag is not the registered name."""
