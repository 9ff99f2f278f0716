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
GENERATOR = {"latent": 4, "hidden": [8], "encoder": 4, "steps": 2, "batch": 4}
FAUG = {
    "env": "fdrl/Digits-v0",
    "agent": {"type": "classifier", "local_steps": 4, "partition": "thinned", "scarce": 1},
}
for _name in ("fd+faug", "fl+faug"):
    SMALL[_name] = FAUG | {"strategy": {"type": _name, "faug": {"generator": GENERATOR}}}
