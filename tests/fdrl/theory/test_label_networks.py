"""Networks trained by FD with averages by label, against autograd and the closed form."""

import numpy as np
import pytest

from fdrl.theory import label_networks, networks
from fdrl.theory.labels import MISSING
from fdrl.theory.networks import label_gradient
from fdrl.theory.problem import Theory, make_label_problem, make_problem

SMALL = Theory(widths=(32, 256), seeds=2, samples=8, inputs=6, steps=40)


def test_one_step_is_the_gradient_of_the_losses() -> None:
    torch = pytest.importorskip("torch")
    q = make_label_problem(SMALL)
    nets = label_networks.start(SMALL, q, 16, 0)
    first = label_networks.answers(nets, q)
    gradients = label_gradient(first, q.target, q.worker, q.label, 1.0, "zero")
    i, c, eta = 1, 2, 0.1
    mine = q.worker == i
    w = torch.tensor(nets[i].hidden[c], dtype=torch.float64, requires_grad=True)
    a, x = (torch.tensor(v, dtype=torch.float64) for v in (nets[i].signs[c], q.inputs[mine]))
    out = torch.relu(x @ w) @ a / 16**0.5
    (out * torch.tensor(gradients[mine, c])).sum().backward()
    out = label_networks.train(nets, q, 1.0, eta, 1, "zero")
    moved = networks.Networks(
        (w - eta * w.grad).detach().numpy()[None].astype(np.float32), nets[i].signs[c : c + 1]
    )
    np.testing.assert_allclose(out[0], first)
    expected = networks.answers(moved, q.inputs[mine])[0]
    np.testing.assert_allclose(out[1][mine, c], expected, atol=1e-5)


def test_training_leaves_the_first_networks_alone_and_repeats() -> None:
    q = make_label_problem(SMALL)
    nets = label_networks.start(SMALL, q, 8, 0)
    kept = nets[0].hidden.copy()
    one, two = (label_networks.train(nets, q, 1.0, 0.1, 3, "renormalize") for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(nets[0].hidden, kept)
    assert not np.array_equal(nets[0].hidden, label_networks.start(SMALL, q, 8, 1)[0].hidden)


def test_wider_networks_are_closer_to_the_closed_form() -> None:
    q = make_label_problem(SMALL)
    found = label_networks.compare(SMALL, make_problem(SMALL), q)
    for m in MISSING:
        assert found.gaps[m].shape == (2, 2)
        assert found.gaps[m][1].max() < found.gaps[m][0].min()
        np.testing.assert_allclose(*found.ends[m], atol=0.1)
