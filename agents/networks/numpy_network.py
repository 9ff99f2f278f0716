"""Activations in place, and their derivatives from the output alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdrl.core.arrays import Floats
from fdrl.core.settings import Loss
from fdrl.ops import gaussian
from fdrl.ops.losses import loss_and_gradient

from .base import Objective
from .layout import Layout, Views
from .workspace import SHARED

Name = Literal["tanh", "relu", "leaky_relu", "elu", "sigmoid"]
SLOPE = np.float32(0.01)


class Activation(NamedTuple):
    """`forward(x)` overwrites x; `backward(d, y, scratch)` multiplies d by the slope."""

    forward: Callable[[Floats], None]
    backward: Callable[[Floats, Floats, Floats], None]


def _tanh(x: Floats) -> None:
    np.tanh(x, out=x)


def _tanh_slope(d: Floats, y: Floats, scratch: Floats) -> None:
    np.multiply(y, y, out=scratch)
    np.multiply(scratch, d, out=scratch)
    np.subtract(d, scratch, out=d)


def _relu(x: Floats) -> None:
    np.maximum(x, np.float32(0), out=x)


def _relu_slope(d: Floats, y: Floats, scratch: Floats) -> None:
    np.sign(y, out=scratch)  # y >= 0, so this is 0 or 1
    np.multiply(d, scratch, out=d)


def _leaky_relu(x: Floats) -> None:
    np.maximum(x, x * SLOPE, out=x)


def _leaky_relu_slope(d: Floats, y: Floats, scratch: Floats) -> None:
    np.copyto(scratch, SLOPE)
    np.copyto(scratch, np.float32(1), where=y > 0)
    np.multiply(d, scratch, out=d)


def _elu(x: Floats) -> None:
    np.copyto(x, np.expm1(np.minimum(x, np.float32(0))), where=x < 0)


def _elu_slope(d: Floats, y: Floats, scratch: Floats) -> None:
    np.minimum(y, np.float32(0), out=scratch)
    np.add(scratch, np.float32(1), out=scratch)
    np.multiply(d, scratch, out=d)


def _sigmoid(x: Floats) -> None:
    # through tanh, which cannot overflow
    np.multiply(x, np.float32(0.5), out=x)
    np.tanh(x, out=x)
    np.multiply(x, np.float32(0.5), out=x)
    np.add(x, np.float32(0.5), out=x)


def _sigmoid_slope(d: Floats, y: Floats, scratch: Floats) -> None:
    np.subtract(np.float32(1), y, out=scratch)
    np.multiply(scratch, y, out=scratch)
    np.multiply(d, scratch, out=d)


ACTIVATIONS: dict[str, Activation] = {
    "tanh": Activation(_tanh, _tanh_slope),
    "relu": Activation(_relu, _relu_slope),
    "leaky_relu": Activation(_leaky_relu, _leaky_relu_slope),
    "elu": Activation(_elu, _elu_slope),
    "sigmoid": Activation(_sigmoid, _sigmoid_slope),
}

# ---- K policy-and-value networks as one batched NumPy program, with a hand-written backward
# pass
#
# Shapes: K agents, B rows, O inputs, A actions, P parameters. Logits are [K, A, B], actions before
# rows, so that a softmax runs over whole vectors and not over pairs; of Gaussian policies they are
# [K, 2D, B], means and logarithms of standard deviations (`gaussian`). Nothing mixes agents: every
# reduction runs over a row of one agent or is a matrix product of one agent, so an agent's numbers
# do not depend on who else is in the stack.


Array = NDArray[np.generic]

BLOCK_FLOATS = 16_384
"""Activations per agent and tower that go through together: ten agents of them stay in cache."""
BIAS_ROWS = 8
"""Rows to which a bias is added in one inner loop; one row of 24 units is too short for NumPy."""


class NumpyNetwork:
    """The fast kernels for multilayer perceptrons."""

    def __init__(self, layout: Layout, params: Floats) -> None:
        self.layout = layout
        self.params = params
        self.agents = params.shape[0]
        self._act = ACTIVATIONS[layout.activation]
        self._p = Views(layout, params)
        self.grad = SHARED.take("grad", params.shape)
        self._g = Views(layout, self.grad)
        rows = BLOCK_FLOATS // max(1, sum(layout.hidden))
        self._block = min(max(rows // 64 * 64, 64), 512)
        self._towers = {
            (first, last): [
                (f"hidden {i}", width, self._p.w[i][:, first:last], self._p.b[i][:, first:last])
                for i, (_, width) in enumerate(layout.layers)
            ]
            for first, last in ((0, 1), (1, 2), (0, 2))
        }
        self._part = SHARED.take("grad block", params.shape)
        self._gb = Views(layout, self._part)

    def take(self, rows: NDArray[np.int64]) -> NumpyNetwork:
        """Return a network of copies of some agents."""
        return NumpyNetwork(self.layout, self.params[rows])

    def policy(self, x: Floats) -> Floats:
        """Return the logits [K, A, B]; the caller may keep them."""
        rows = x.shape[1]
        logits = np.empty((self.agents, self.layout.outputs, rows), np.float32)
        if rows <= self._block:  # every step of a rollout
            self._policy_head(self._trunk(x, 0, 1)[-1], logits)
            return logits
        for i in range(0, rows, self._block):
            h = self._trunk(x[:, i : i + self._block], 0, 1)[-1]
            self._policy_head(h, logits[:, :, i : i + self._block])
        return logits

    def values(self, x: Floats) -> Floats:
        """Return the values [K, B]."""
        rows = x.shape[1]
        values = np.empty((self.agents, 1, rows), np.float32)
        for i in range(0, rows, self._block):
            h = self._trunk(x[:, i : i + self._block], 1, 2)[-1]
            self._value_head(h, values[:, :, i : i + self._block])
        return values[:, 0]

    def outputs(self, x: Floats) -> tuple[Floats, Floats]:
        """Return logits [K, A, B] and values [K, B]."""
        rows = x.shape[1]
        logits = np.empty((self.agents, self.layout.outputs, rows), np.float32)
        values = np.empty((self.agents, 1, rows), np.float32)
        for i in range(0, rows, self._block):
            h = self._trunk(x[:, i : i + self._block], 0, 2)[-1]
            self._policy_head(h, logits[:, :, i : i + self._block])
            self._value_head(h, values[:, :, i : i + self._block])
        return logits, values[:, 0]

    def backward(self, x: Floats, objective: Objective) -> NDArray[np.float64]:
        """Write the objective's gradient at x [K, B, O] into `grad`; return its metrics [n, K]."""
        transposed = self._transposed(0, 2)
        total: NDArray[np.float64] | None = None
        for i in range(0, x.shape[1], self._block):
            block = x[:, i : i + self._block]
            hidden = self._trunk(block, 0, 2)
            k, b = block.shape[:2]
            logits = SHARED.take("logits", (k, self.layout.outputs, b))
            values = SHARED.take("values", (k, 1, b))
            self._policy_head(hidden[-1], logits)
            self._value_head(hidden[-1], values)
            metrics = objective.gradient(logits, values[:, 0], slice(i, i + b))
            g = self._g if i == 0 else self._gb
            self._backward(transposed, hidden, logits, values, g)
            if total is None:
                total = metrics
            else:
                np.add(self.grad, self._part, out=self.grad)
                total = total + metrics
        assert total is not None
        return total

    def backward_distill(
        self, x: Floats, targets: Floats, weights: Floats, loss: Loss
    ) -> tuple[NDArray[np.float64], Floats]:
        """Write the distillation gradient into the policy's part of `grad`."""
        hidden = self._trunk(x, 0, 1)
        shape = (self.agents, self.layout.outputs, x.shape[1])
        logits = SHARED.take("logits", shape)
        self._policy_head(hidden[-1], logits)
        slopes_of = gaussian.loss_and_gradient if self.layout.gaussian else loss_and_gradient
        value, slope = slopes_of(logits.swapaxes(1, 2), targets, weights, loss)
        d = SHARED.take("logit slopes", shape)
        np.copyto(d, slope.swapaxes(1, 2), casting="same_kind")
        self._backward(self._transposed(0, 1), hidden, d, None, self._g)
        return np.asarray(value, dtype=np.float64), logits

    def backward_values(self, x: Floats, targets: Floats, shares: Floats) -> NDArray[np.float64]:
        """Write the gradient of the values' squared errors; the policies' part stays as it is."""
        transposed, losses = self._transposed(1, 2), np.zeros(self.agents)
        for i in range(0, x.shape[1], self._block):
            rows = slice(i, i + self._block)
            hidden = self._trunk(x[:, rows], 1, 2)
            values = SHARED.take("values", (self.agents, 1, hidden[0].shape[2]))
            self._value_head(hidden[-1], values)
            slopes = values[:, 0]
            slopes -= targets[:, rows]
            losses += np.add.reduce(slopes * slopes * shares[:, rows], axis=1)
            slopes *= np.float32(2) * shares[:, rows]
            self._backward(transposed, hidden, None, values, self._g if i == 0 else self._gb)
            if i:
                first = self.layout.policy_size
                self.grad[:, first:] += self._part[:, first:]
        return losses

    def _trunk(self, x: Floats, first: int, last: int) -> list[Floats]:
        """Return [x, hidden 1, ...], each [K, towers, B, width], for towers first..last-1."""
        h: Floats = x[:, None]
        outputs = [h]
        size = (self.agents, last - first, x.shape[1])
        for name, width, w, b in self._towers[first, last]:
            h = np.matmul(h, w, out=SHARED.take(name, (*size, width)))
            _add_bias(h, b, name)
            self._act.forward(h)
            outputs.append(h)
        return outputs

    def _policy_head(self, h: Floats, logits: Floats) -> None:
        """Write the policy's outputs [K, A or 2D, B] from features [K, towers, B, F] of tower 0."""
        rows = np.matmul(h[:, 0], self._p.policy_w)
        if self.layout.gaussian:
            logits[:, self.layout.n_actions :] = self._p.log_std
            logits = logits[:, : self.layout.n_actions]
        np.add(rows.swapaxes(1, 2), self._p.policy_b, out=logits)

    def _value_head(self, h: Floats, values: Floats) -> None:
        """Write values [K, 1, B] from the features of the last tower."""
        rows = np.matmul(h[:, -1], self._p.value_w)
        np.add(rows.swapaxes(1, 2), self._p.value_b, out=values)

    def _transposed(self, first: int, last: int) -> list[Floats]:
        """Copy the weights of all but the first hidden layer as [K, towers, out, in].

        A product with a transposed operand takes OpenBLAS half as long again.
        """
        copies = []
        for i, w in enumerate(self._p.w[1:], 1):
            turned = w[:, first:last].swapaxes(2, 3)
            copies.append(SHARED.take(f"transposed {i}", turned.shape))
            np.copyto(copies[-1], turned)
        return copies

    def _backward(
        self,
        transposed: list[Floats],
        hidden: list[Floats],
        dlogits: Floats | None,
        dvalues: Floats | None,
        g: Views,
    ) -> None:
        """Write the gradients of all layers, given those of logits [K, A, B], values [K, 1, B].

        Without one of them nothing is written for its tower, which `hidden` must not have either.
        """
        top = hidden[-1]
        d = SHARED.take(f"slope {len(hidden) - 2}", (self.agents, *top.shape[1:]))
        if dlogits is not None:
            self._backward_policy_head(top[:, 0], dlogits, d[:, 0], g)
        if dvalues is not None:
            _head_gradient(top[:, -1], dvalues, g.value_w, g.value_b)
            _outer(dvalues, self._p.value_w, d[:, -1])
        towers = slice(0 if dlogits is not None else 1, 2 if dvalues is not None else 1)
        for i in range(len(hidden) - 2, -1, -1):
            y, below = hidden[i + 1], hidden[i]
            self._act.backward(d, y, SHARED.take("scratch", d.shape))
            np.matmul(_ones(d.shape[2]), d, out=g.b[i][:, towers])
            np.matmul(below.swapaxes(2, 3), d, out=g.w[i][:, towers])
            if i:
                lower = SHARED.take(f"slope {i - 1}", (*d.shape[:3], below.shape[3]))
                d = np.matmul(d, transposed[i - 1], out=lower)

    def _backward_policy_head(self, top: Floats, dlogits: Floats, d: Floats, g: Views) -> None:
        """Write the policy head's gradients, and the slopes d [K, B, F] of its features `top`."""
        if self.layout.gaussian:
            np.add.reduce(dlogits[:, self.layout.n_actions :], axis=2, keepdims=True, out=g.log_std)
            dlogits = np.ascontiguousarray(dlogits[:, : self.layout.n_actions])
        _head_gradient(top, dlogits, g.policy_w, g.policy_b)
        np.matmul(dlogits.swapaxes(1, 2), self._p.policy_w.swapaxes(1, 2), out=d)


def _add_bias(h: Floats, b: Floats, name: str) -> None:
    """Add b [K, towers, 1, width] to h [K, towers, B, width], several rows at a time."""
    k, towers, rows, width = h.shape
    if rows % BIAS_ROWS or rows < 8 * BIAS_ROWS:
        np.add(h, b, out=h)
        return
    wide = SHARED.take(f"bias of {name}", (k, towers, 1, BIAS_ROWS, width))
    np.copyto(wide, b[:, :, None])
    many = h.reshape(k, towers, rows // BIAS_ROWS, BIAS_ROWS, width)
    np.add(many, wide, out=many)


def _outer(slopes: Floats, w: Floats, out: Floats) -> None:
    """Write slopes [K, 1, B] times w [K, F, 1] as [K, B, F].

    A product over one column is three times slower than one over two, so a zero is added.
    """
    k, _, rows = slopes.shape
    left = SHARED.zeros("outer left", (k, 2, rows))
    right = SHARED.zeros("outer right", (k, 2, w.shape[1]))
    left[:, :1] = slopes
    right[:, :1] = w.swapaxes(1, 2)
    np.matmul(left.swapaxes(1, 2), right, out=out)


def _ones(rows: int) -> Floats:
    ones = SHARED.take("ones", (1, rows))
    ones.fill(1)
    return ones


def _head_gradient(features: Floats, slopes: Floats, w: Floats, b: Floats) -> None:
    """Gradient of a head: features [K, B, F], slopes [K, outputs, B]."""
    np.matmul(features.swapaxes(1, 2), slopes.swapaxes(1, 2), out=w)
    np.add.reduce(slopes, axis=2, keepdims=True, out=b)
