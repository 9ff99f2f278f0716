"""What a small run of each strategy needs beyond its name: agents with labels, or few proxies."""

LABELED = {
    "env": "fdrl/Digits-v0",
    "agent": {"type": "classifier", "batch_size": 16, "local_steps": 16},
}
SMALL = {
    "fedhpd": {"proxy": {"type": "uniform", "size": 32}},
    "fl": LABELED,
    "mixfld": LABELED,
    "mix2fld": LABELED,
}
