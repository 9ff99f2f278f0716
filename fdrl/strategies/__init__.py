"""Strategies: one module per method; each has a client half and a server half.

`distillation` is the engine that `fd`, `fdv`, `frd`, `mixfrd`, `fedhpd`, `pd` and `cd` are settings
of (`distillation.settings`).
"""

from typing import Any

from fdrl.core.registry import register_strategy

_ENGINE = (
    "fdrl.strategies.distillation.client:Client",
    "fdrl.strategies.distillation.server:Server",
)


def register() -> None:
    """Register the methods that ship with fdrl."""
    for name, module, cls, moves, summary in _TABLE:
        settings = f"fdrl.strategies.{module}:{cls}"
        client, server = _HALVES.get(name, _ENGINE)
        register_strategy(
            name,
            settings=settings,
            client=client,
            server=server,
            summary=summary,
            moves=moves,
            **_MORE.get(name, {}),
        )


_RANKS = (
    "fd",
    "fdv",
    "fedavg",
    "local",
    "self",
    "frd",
    "mixfrd",
    "fedhpd",
    "pd",
    "pooled",
)
"""The order in reports: ours, the rival, the controls, the published methods; then all others."""
_MORE: dict[str, dict[str, Any]] = {name: {"rank": rank} for rank, name in enumerate(_RANKS)}
_MORE["fd"] |= {"default": True}
_MORE["fdv"] |= {"needs": "values", "default": True}
_MORE["fedavg"] |= {"baseline": True}
_MORE["mixfrd"] |= {"variant_of": "frd"}
_BASE = "fdrl.strategies.base"
_FLD = ("fdrl.strategies.fld:client", "fdrl.strategies.fld:server")
_FAUG = "fdrl.strategies.faug"
_HALVES = {
    "local": (f"{_BASE}:Client", f"{_BASE}:Server"),
    "self": ("fdrl.strategies.local:Client", f"{_BASE}:Server"),
    "fedavg": ("fdrl.strategies.fedavg:Client", "fdrl.strategies.fedavg:Server"),
    "fl": ("fdrl.strategies.fedavg:Client", "fdrl.strategies.fedavg:Server"),
    "hfd": ("fdrl.strategies.hfd:Client", "fdrl.strategies.hfd:Server"),
    "pooled": ("fdrl.strategies.pooled:Client", "fdrl.strategies.pooled:Server"),
    "fld": _FLD,
    "mixfld": _FLD,
    "mix2fld": _FLD,
    "fd+faug": (f"{_FAUG}:FDClient", f"{_FAUG}:FDServer"),
    "fl+faug": (f"{_FAUG}:FLClient", f"{_FAUG}:FLServer"),
}

_TABLE = (
    ("local", "local", "Local", "nothing", "every agent learns alone"),
    (
        "self",
        "local",
        "Self",
        "nothing",
        "compute control: fd's gradient steps, toward the agent's own earlier policy",
    ),
    (
        "fedavg",
        "fedavg",
        "FedAvg",
        "parameters, both ways",
        "average the agents' parameters (FedAvg-RL, FedProx with prox > 0)",
    ),
    (
        "fl",
        "fedavg",
        "FL",
        "parameters, both ways",
        "fedavg weighted by the samples that agents own, for classification",
    ),
    (
        "cd",
        "distillation.settings",
        "CD",
        "probabilities on public states",
        "co-distillation: each agent is taught by the mean of the others",
    ),
    (
        "hfd",
        "hfd",
        "HFD",
        "mean samples once, then probabilities on them",
        "hybrid federated distillation: answers about each label's mean sample",
    ),
    (
        "pooled",
        "pooled",
        "Pooled",
        "transitions up, parameters down",
        "oracle: one learner on everybody's data",
    ),
    (
        "pd",
        "distillation.settings",
        "PD",
        "visited states and probabilities",
        "policy distillation: share every state and the policy there",
    ),
    (
        "frd",
        "distillation.settings",
        "FRD",
        "mean probabilities per visited grid cell",
        "federated reinforcement distillation over a proxy grid",
    ),
    (
        "mixfrd",
        "distillation.settings",
        "MixFRD",
        "mean probabilities per visited grid cell",
        "frd, with the downloaded proxy memory mixed up at the agent",
    ),
    (
        "fedhpd",
        "distillation.settings",
        "FedHPD",
        "probabilities on public states",
        "plain mean of current policies, several passes",
    ),
    (
        "fd",
        "distillation.settings",
        "FD",
        "one byte a proxy state and action",
        "federated distillation weighted by who has been where (the default without critics)",
    ),
    (
        "fdv",
        "distillation.settings",
        "FDV",
        "one byte a proxy state and action, one for its value",
        "fd whose agents also exchange and distill value estimates (the default)",
    ),
    (
        "fld",
        "fld.settings",
        "FLD",
        "probabilities up, policy parameters down",
        "the server distills the agents' answers into its own network and sends that",
    ),
    (
        "mixfld",
        "fld.settings",
        "MixFLD",
        "mean outputs by label and mixed-up samples up, parameters down",
        "fld for labels; agents mix their seed samples up",
    ),
    (
        "mix2fld",
        "fld.settings",
        "Mix2FLD",
        "mean outputs by label and mixed-up samples up, parameters down",
        "mixfld, and the server mixes inversely across agents",
    ),
    (
        "fd+faug",
        "faug",
        "FDFAug",
        "seed samples once, a generator back, then as fd",
        "fill up scarce labels from a generator trained at the server, then fd by label",
    ),
    (
        "fl+faug",
        "faug",
        "FLFAug",
        "seed samples once, a generator back, then parameters",
        "fill up scarce labels from a generator trained at the server, then fedavg",
    ),
)
