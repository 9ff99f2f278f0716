"""Neural tangent kernels K(x, x') = grad f(x) . grad f(x'), analytic and of a given network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fdrl.theory.modes import Floats

if TYPE_CHECKING:
    import torch


def relu_kernel(inputs: ArrayLike) -> Floats:
    """Return the infinite-width kernel [N, N] of inputs [N, D].

    The network is f(x) = m**-0.5 sum_r a_r relu(w_r . x), a_r = +-1 fixed, w_r ~ N(0, I) trained:
    K_ij = x_i . x_j (pi - angle(x_i, x_j)) / (2 pi), the probability that a unit is active on both
    times the product (Jacot et al. 2018; Du et al. 2019, "Gradient Descent Provably Optimizes
    Over-parameterized Neural Networks", eq. 5). Raises ValueError for an input of length zero.
    """
    x = np.asarray(inputs, dtype=np.float64)
    if x.ndim != 2:
        raise ValueError(f"inputs must be [N, D], not {x.shape}")
    lengths = np.linalg.norm(x, axis=1)
    if not (lengths > 0).all():
        raise ValueError("an input of length zero has no direction")
    products = x @ x.T
    cosines = np.clip(products / np.outer(lengths, lengths), -1, 1)
    # An input with itself is at angle 0; arccos is steep there and would show rounding.
    np.fill_diagonal(cosines, 1.0)
    return np.asarray(products * (np.pi - np.arccos(cosines)) / (2 * np.pi))


def empirical_ntk(network: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Return the kernel [N, N, C, C] of a torch network at its present parameters.

    `inputs` [N, ...]; the network maps a batch to [N, C] or [N] (then C = 1). Only parameters with
    ``requires_grad`` count, as only they train. The Jacobian [N, C, parameters] is held in
    memory: for small networks. Raises ValueError if nothing is trainable.
    """
    import torch
    from torch.func import functional_call, jacrev, vmap

    trained = {n: p.detach() for n, p in network.named_parameters() if p.requires_grad}
    if not trained:
        raise ValueError("the network has no parameter that trains")
    fixed = {n: p.detach() for n, p in network.named_parameters() if not p.requires_grad}
    fixed |= dict(network.named_buffers())

    def answer(parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = functional_call(network, parameters | fixed, (x[None],))
        return out.reshape(-1)

    jacobians = vmap(jacrev(answer), (None, 0))(trained, inputs)
    flat = torch.cat([j.flatten(2) for j in jacobians.values()], dim=2)
    return torch.einsum("icp,jdp->ijcd", flat, flat)
