"""How near to a raw sample are mixed-up and inversely mixed ones? Sample privacy against lam.

    python benchmarks/mixup_privacy.py                        the embedded digits
    python benchmarks/mixup_privacy.py --data data/mnist      a folder of IDX files

Devices own equal shares of the images and choose seeds as the agents of `mixfld` and `mix2fld` do;
nothing is trained. Sample privacy is log of the Euclidean distance to the nearest raw sample in the
mixture, pixels in [0, 1] (arXiv 2006.09801); the mean over samples, then over draws of the seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from fdrl.envs.images import Samples, digits, from_folder
from numpy.typing import NDArray

from fdrl.core.seeding import Purpose, generator
from fdrl.ops import mixup, privacy
from fdrl.strategies.fld.seeds import Chosen, Seeds, choose, usable

Array = NDArray[Any]
LAMS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.45, 0.499)


def chosen(images: Array, labels: Array, seeds: Seeds, devices: int, seed: int) -> list[Chosen]:
    """Return every device's mixtures of its share of the images [n, O] and labels [n]."""
    order = generator(seed, Purpose.PROXY, 1).permutation(len(labels))
    classes = int(labels.max()) + 1
    rng = generator(seed, Purpose.PROXY)
    agreed = mixup.agreed_labels(classes, seeds.labels, seeds.count, rng)
    shares = np.array_split(order, devices)
    return [
        choose(images[s], labels[s], seeds, "up", agreed, d, generator(seed, Purpose.CLIENT, d))
        for d, s in enumerate(shares)
    ]


def measured(found: list[Chosen], seeds: Seeds, classes: int, seed: int) -> tuple[float, float]:
    """Return the mean privacy of the mixtures, and of what their inverse mixup gives."""
    raw = np.concatenate([c.raw for c in found])
    samples = np.concatenate([c.samples for c in found])
    uploads = {d: (c.samples, c.labels) for d, c in enumerate(found)}
    rng = generator(seed, Purpose.SERVER)
    unmixed = usable(uploads, seeds, "inverse", classes, rng)
    inside = raw[unmixed.groups].reshape(len(unmixed.groups), -1, *samples.shape[1:])
    return privacy.mean_privacy(samples, raw), privacy.mean_privacy(unmixed.samples, inside)


def table(data: Samples, count: int, labels: int, devices: int, draws: int) -> list[str]:
    """Return the lines of the table, one a lam."""
    lines = [
        f"| lam | mixup of {labels} labels | inverse mixup | difference |",
        "| --- | --- | --- | --- |",
    ]
    images, names = data.train
    for lam in LAMS:
        if abs(lam - 1 / labels) < 1e-6:
            continue
        seeds = Seeds(count=count, lam=lam, labels=labels, most=500)
        rows = [
            measured(chosen(images, names, seeds, devices, s), seeds, data.classes, s)
            for s in range(draws)
        ]
        up, inverse = np.mean(rows, axis=0)
        lines.append(f"| {lam:g} | {up:.2f} | {inverse:.2f} | {inverse - up:+.2f} |")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, help="folder of IDX files; unset: embedded digits")
    parser.add_argument("--seeds", type=int, default=50, help="mixtures of each device")
    parser.add_argument("--labels", type=int, default=2, help="labels in a mixture")
    parser.add_argument("--devices", type=int, default=10)
    parser.add_argument("--draws", type=int, default=5, help="draws of the seeds to average over")
    args = parser.parse_args()
    data = from_folder(args.data) if args.data else digits()
    print("\n".join(table(data, args.seeds, args.labels, args.devices, args.draws)))


if __name__ == "__main__":
    main()
