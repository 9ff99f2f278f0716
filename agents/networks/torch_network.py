"""The reference: networks and losses in torch, with gradients by autograd; images too."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fdrl.core.arrays import Floats
from fdrl.core.errors import FdrlError
from fdrl.core.settings import Loss
from fdrl.core.threads import calm_forks
from fdrl.ops.losses import FLOOR

from ..gaussian import HALF_LOG_2PI
from ..losses import ActorCriticLoss
from .base import Objective
from .layout import ImageLayout, Layout

calm_forks(torch.set_num_threads)

# ---- The reference: the same networks and losses in torch, with gradients by autograd ----
#
# Slower than `NumpyNetwork`, but readable, and it runs on any torch device. Arrays come and go as
# NumPy; parameters live in `params` [K, P], which the optimizers change in place.


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "sigmoid": torch.sigmoid,
}


class TorchNetwork:
    """K policy-and-value networks (a `Network`).

    On the CPU agents are computed one after another, because the order of torch's sums there
    depends on how many are stacked, and an agent's numbers must not. Other devices, which promise
    no bits, compute them together.
    """

    def __init__(self, layout: Layout, params: Floats, device: str = "cpu") -> None:
        self.layout, self.params = layout, params
        self.grad = np.zeros_like(params)
        try:
            self._device = torch.device(device)
            self._send(np.zeros(1, np.float32))
        except (RuntimeError, AssertionError) as error:
            raise FdrlError(f"device {device!r} cannot be used: {error}") from error
        k = len(params)
        alone = self._device.type == "cpu"
        self._stacks = [slice(i, i + 1) for i in range(k)] if alone else [slice(0, k)]

    def take(self, rows: NDArray[np.int64]) -> TorchNetwork:
        """Return a network of copies of some agents."""
        return TorchNetwork(self.layout, self.params[rows], str(self._device))

    def policy(self, x: Floats) -> Floats:
        """Return the logits [K, A, B]."""
        return self._map(self._policy, x)

    def values(self, x: Floats) -> Floats:
        """Return the values [K, B]."""
        return self._map(self._values, x)

    def outputs(self, x: Floats) -> tuple[Floats, Floats]:
        """Return logits [K, A, B] and values [K, B]."""
        return self.policy(x), self.values(x)

    def backward(self, x: Floats, objective: Objective) -> NDArray[np.float64]:
        """Write the objective's gradient at x [K, B, O] into `grad`; return its metrics [n, K]."""
        if not isinstance(objective, ActorCriticLoss):
            raise TypeError(f"no torch loss for {type(objective).__name__}")

        def loss(theta: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            seen = self._send(x[rows])
            outputs = self._policy(theta, seen), self._values(theta, seen)
            return actor_critic_loss(*outputs, self._on_device(objective, rows))

        return np.concatenate(self._descents(loss), axis=1).astype(np.float64)

    def backward_distill(
        self, x: Floats, targets: Floats, weights: Floats, loss: Loss
    ) -> tuple[NDArray[np.float64], Floats]:
        """Write the distillation gradient into the policy's part of `grad`."""
        logits = self.policy(x)

        def per_agent(theta: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            ours = self._policy(theta, self._send(_of(x, rows)))
            loss_of = gaussian_distill_loss if self.layout.gaussian else distill_loss
            each = loss_of(ours, self._send(targets[rows]), self._send(weights[rows]), loss)
            return each, each.detach()

        return np.concatenate(self._descents(per_agent)).astype(np.float64), logits

    def backward_values(self, x: Floats, targets: Floats, shares: Floats) -> NDArray[np.float64]:
        """Write the gradient of the values' squared errors; the policies' part becomes 0."""

        def per_agent(theta: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            errors = self._values(theta, self._send(_of(x, rows))) - self._send(targets[rows])
            each = (errors.square() * self._send(shares[rows])).sum(1)
            return each, each.detach()

        return np.concatenate(self._descents(per_agent)).astype(np.float64)

    def _map(self, function: Callable[[Tensor, Tensor], Tensor], x: Floats) -> Floats:
        """Apply a network to x [K or 1, B, O]."""
        with torch.no_grad():
            outputs = [
                function(self._send(self.params[rows]), self._send(_of(x, rows))).cpu().numpy()
                for rows in self._stacks
            ]
        return np.concatenate(outputs)

    def _descents(
        self, loss: Callable[[Tensor, slice], tuple[Tensor, Tensor]]
    ) -> list[NDArray[np.float32]]:
        """Write gradients of per-agent losses into `grad`; return what came with the losses."""
        notes = []
        for rows in self._stacks:
            theta = self._send(self.params[rows]).requires_grad_()
            per_agent, note = loss(theta, rows)
            # a sum of per-agent means has exactly independent per-agent gradients
            (slope,) = torch.autograd.grad(per_agent.sum(), theta)
            self.grad[rows] = slope.cpu().numpy()
            notes.append(note.cpu().numpy())
        return notes

    def _on_device(self, objective: ActorCriticLoss, rows: slice) -> TorchObjective:
        o = objective
        return TorchObjective(
            actions=self._send(o.actions[rows]),
            advantages=self._send(o.advantages[rows]),
            targets=self._send(o.targets[rows]),
            old_log_probs=self._send(o.old_log_probs[rows]),
            old_values=self._send(o.old_values[rows]),
            clip_range=o.clip_range,
            clip_range_vf=o.clip_range_vf,
            ent_coef=o.ent_coef,
            vf_coef=o.vf_coef,
            shares=None if o.shares is None else self._send(o.shares[rows]),
        )

    def _send(self, array: NDArray[np.generic]) -> Tensor:
        return torch.tensor(array, device=self._device)

    def _trunk(self, theta: Tensor, x: Tensor, offset: int) -> tuple[Tensor, int]:
        act = ACTIVATIONS[self.layout.activation]
        h = x.expand(len(theta), *x.shape[1:])
        for i, o in self.layout.layers:
            h = act(_linear(theta, h, offset, i, o))
            offset += i * o + o
        return h, offset

    def _policy(self, theta: Tensor, x: Tensor) -> Tensor:
        h, offset = self._trunk(theta, x, 0)
        f, a = self.layout.features, self.layout.n_actions
        outputs = _linear(theta, h, offset, f, a).transpose(1, 2)
        if not self.layout.gaussian:
            return outputs
        log_std = theta[:, offset + (f + 1) * a : self.layout.policy_size, None]
        return torch.cat([outputs, log_std.expand_as(outputs)], 1)

    def _values(self, theta: Tensor, x: Tensor) -> Tensor:
        h, offset = self._trunk(theta, x, self.layout.policy_size)
        return _linear(theta, h, offset, self.layout.features, 1)[..., 0]


def _linear(theta: Tensor, x: Tensor, offset: int, inputs: int, outputs: int) -> Tensor:
    """Apply the layer at `offset` of every row of theta [K, P] to x [K, B, inputs]."""
    end = offset + inputs * outputs
    w = theta[:, offset:end].reshape(-1, inputs, outputs)
    return torch.baddbmm(theta[:, None, end : end + outputs], x, w)


def _of(x: Floats, rows: slice) -> Floats:
    """Return some agents' states; [1, B, O] belongs to all of them."""
    return x if len(x) == 1 else x[rows]


@dataclass
class TorchObjective:
    """`losses.ActorCritic` as tensors."""

    actions: Tensor
    advantages: Tensor
    targets: Tensor
    old_log_probs: Tensor
    old_values: Tensor
    clip_range: float | None
    clip_range_vf: float | None
    ent_coef: float
    vf_coef: float
    shares: Tensor | None = None

    def mean(self, each: Tensor) -> Tensor:
        """Return means [K] of [K, B], in which rows count as `shares` say."""
        return each.mean(1) if self.shares is None else (each * self.shares).sum(1)


def actor_critic_loss(logits: Tensor, values: Tensor, o: TorchObjective) -> tuple[Tensor, Tensor]:
    """Return each agent's loss [K] and the metrics [5, K] of `losses.METRICS`."""
    if o.actions.dim() == 3:
        log_pi, spread = _gaussian_policy(logits, o.actions)
        entropy = o.mean(spread)
    else:
        log_p = torch.log_softmax(logits, 1)
        log_pi = log_p.gather(1, o.actions[:, None])[:, 0]
        entropy = o.mean(-(log_p.exp() * log_p).sum(1))
    kl = clipped = torch.zeros_like(entropy)
    gain = o.advantages * log_pi
    if o.clip_range is not None:
        log_ratio = log_pi - o.old_log_probs
        ratio = log_ratio.exp()
        bounded = ratio.clamp(1 - o.clip_range, 1 + o.clip_range)
        gain = torch.minimum(o.advantages * ratio, o.advantages * bounded)
        kl = o.mean(ratio - 1 - log_ratio)
        clipped = o.mean((ratio != bounded).float())
    if o.clip_range_vf is not None:
        moved = (values - o.old_values).clamp(-o.clip_range_vf, o.clip_range_vf)
        values = o.old_values + moved
    value_loss = o.mean((values - o.targets).square())
    policy_loss = -o.mean(gain)
    loss = policy_loss - o.ent_coef * entropy + o.vf_coef * value_loss
    return loss, torch.stack([policy_loss, value_loss, -entropy, kl, clipped]).detach()


def _gaussian_policy(outputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-densities and entropies [K, B] of actions [K, B, D]."""
    mean, log_std = outputs.transpose(1, 2).chunk(2, dim=2)
    each = -(((actions - mean) / log_std.exp()).square() / 2 + log_std + HALF_LOG_2PI)
    return each.sum(2), (log_std + 0.5 + HALF_LOG_2PI).sum(2)


def gaussian_distill_loss(outputs: Tensor, targets: Tensor, weights: Tensor, loss: Loss) -> Tensor:
    """Weighted mean [K] of KL(t || p) or KL(p || t); outputs [K, 2D, B], t moments [K, B, 2D]."""
    if loss == "js":
        raise FdrlError(f"distill.loss is {loss!r}, but continuous actions need forward or reverse")
    mean, log_std = outputs.transpose(1, 2).chunk(2, dim=2)
    target, target_std = targets.chunk(2, dim=2)
    spread = log_std.exp()
    p, q = (target_std, spread) if loss == "forward" else (spread, target_std)
    each = (torch.log(q / p) + (p**2 + (mean - target) ** 2) / (2 * q**2) - 0.5).sum(2)
    total = weights.sum(1)
    return (each * weights).sum(1) / torch.where(total > 0, total, torch.ones_like(total))


def distill_loss(logits: Tensor, targets: Tensor, weights: Tensor, loss: Loss) -> Tensor:
    """Weighted mean [K] of KL(t || p), KL(p || t) or JS(t, p); logits [K, A, B], t [K, B, A]."""
    log_p = torch.log_softmax(logits, 1).transpose(1, 2)
    p, log_t = log_p.exp(), targets.clamp_min(FLOOR).log()
    if loss == "forward":
        each = (targets * (log_t - log_p)).sum(2)
    elif loss == "reverse":
        each = (p * (log_p - log_t)).sum(2)
    else:
        tiny = torch.finfo(p.dtype).tiny
        log_m = ((p + targets) / 2).clamp_min(tiny).log()
        log_t = targets.clamp_min(tiny).log()
        each = ((targets * (log_t - log_m)).sum(2) + (p * (log_p - log_m)).sum(2)) / 2
    total = weights.sum(1)
    return (each * weights).sum(1) / torch.where(total > 0, total, torch.ones_like(total))


# ---- K policy-and-value networks on images, in torch: convolutions before the reference's
# towers


BLOCK = 1024
"""Images that go through together where no gradient is asked for."""


class ImageNetwork(TorchNetwork):
    """K networks over `params` [K, P] (a `Network`); see `image_layout`."""

    def __init__(self, layout: ImageLayout, params: Floats, device: str = "cpu") -> None:
        super().__init__(layout, params, device)
        self._shape = layout
        keep_memory()

    def take(self, rows: NDArray[np.int64]) -> ImageNetwork:
        """Return a network of copies of some agents."""
        return ImageNetwork(self._shape, self.params[rows], str(self._device))

    def _map(self, function: Callable[[Tensor, Tensor], Tensor], x: Floats) -> Floats:
        blocks = []
        for i in range(0, x.shape[1], BLOCK):
            blocks.append(super()._map(function, x[:, i : i + BLOCK]))
        return np.concatenate(blocks, axis=-1)

    def _trunk(self, theta: Tensor, x: Tensor, offset: int) -> tuple[Tensor, int]:
        """Return the features [K, B, F] of one tower at x [K or 1, B, O], and where they end."""
        act = ACTIVATIONS[self._shape.activation]
        z, channels = self._planes(x.expand(len(theta), *x.shape[1:])), self._shape.planes[0]
        for c in self._shape.convolutions:
            end = offset + channels * c.kernel**2 * c.channels
            w = theta[:, offset:end].reshape(len(theta), -1, c.channels).transpose(1, 2)
            b = theta[:, end : end + c.channels]
            # agents side by side as groups of channels: one call, and no sum across agents
            z = functional.conv2d(
                z,
                w.reshape(-1, channels, c.kernel, c.kernel),
                b.reshape(-1),
                stride=c.stride,
                padding=c.padding,
                groups=len(theta),
            )
            z, channels, offset = functional.relu(z), c.channels, end + c.channels
        h = z.reshape(len(z), len(theta), -1).transpose(0, 1)
        for i, o in self._shape.dense:
            h = act(_linear(theta, h, offset, i, o))
            offset += i * o + o
        return h, offset

    def _planes(self, x: Tensor) -> Tensor:
        """Return images [K, B, O] as [B, K * C, H, W], scaled."""
        layout = self._shape
        c, h, w = layout.planes
        agents, rows = x.shape[:2]
        if layout.channels_first:
            z = x.reshape(agents, rows, c, h, w)
        else:
            z = x.reshape(agents, rows, h, w, c).permute(0, 1, 4, 2, 3)
        return z.transpose(0, 1).reshape(rows, agents * c, h, w) * layout.scale


# ---- Keeping freed memory: an image batch of a convolution is too large for malloc's taste ----


TRIM, MMAP = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h."""


@functools.cache
def keep_memory() -> None:
    """Let malloc reuse large blocks instead of mapping and unmapping each; Linux only.

    A third of a convolution's time on the CPU goes into page faults otherwise.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(MMAP, 1 << 30)
        libc.mallopt(TRIM, (1 << 31) - 1)
