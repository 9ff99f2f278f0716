"""From a trained agent to a Stable-Baselines3 model, and from one's zip to weights."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn

from fdrl.core.arrays import Floats
from fdrl.core.env import Envs
from fdrl.core.errors import FdrlError

from ..networks.layout import Layout, Views, for_images
from ..rollout import Collector
from .model import Copies, build
from .network import SB3Network
from .settings import SB3

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "sigmoid": nn.Sigmoid,
}


class _Spaces(gymnasium.Env[Any, Any]):
    """An environment of which only the spaces are ever asked for."""

    def __init__(self, envs: Envs) -> None:
        self.observation_space, self.action_space = envs.observation_space, envs.action_space


def export(settings: Any, row: Floats, envs: Envs) -> Any:
    """Return the SB3 model of one agent with parameters `row` [P]; ``model.save(path)`` keeps it.

    `ppo` becomes a PPO; `a2c` an A2C; `reinforce`, which SB3 has not, an A2C whose critic knows
    nothing; `sb3` what it is. Raises `FdrlError` for other learners.
    """
    if isinstance(settings, SB3):
        return _own_model(settings, row, envs)
    kind = str(type(settings).__struct_config__.tag)
    if kind not in ("ppo", "a2c", "reinforce"):
        raise FdrlError(
            f"agent {kind!r} cannot be exported to Stable-Baselines3: only ppo, a2c, "
            "reinforce and sb3"
        )
    from stable_baselines3 import A2C, PPO

    if envs.gaussian:
        raise FdrlError("agents with continuous actions cannot be exported yet: only discrete ones")
    layout = Layout(
        int(np.prod(envs.observation_shape)), settings.hidden, envs.n_actions, settings.activation
    )
    if for_images(layout, envs.observation_space) != layout:
        raise FdrlError(
            f"agents that see {envs.observation_shape} through convolutions cannot be exported "
            "yet: only those that see flat observations"
        )
    hidden = list(settings.hidden)
    model = (PPO if kind == "ppo" else A2C)(
        "MlpPolicy",
        _Spaces(envs),
        device="cpu",
        policy_kwargs={
            "net_arch": {"pi": hidden, "vf": hidden},
            "activation_fn": ACTIVATIONS[settings.activation],
        },
    )
    whole = np.zeros((1, layout.size), np.float32)
    whole[0, : len(row)] = row
    _fill(model.policy, Views(layout, whole))
    return model


def _fill(policy: Any, views: Views) -> None:
    """Copy weights [in, out] and biases into SB3's linear layers [out, in]."""
    towers = (policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net)
    for tower, body in enumerate(towers):
        layers = [m for m in body if isinstance(m, nn.Linear)]
        for layer, w, b in zip(layers, views.w, views.b, strict=True):
            _set(layer, w[0, tower], b[0, tower, 0])
    _set(policy.action_net, views.policy_w[0], views.policy_b[0, :, 0])
    _set(policy.value_net, views.value_w[0], views.value_b[0, :, 0])


def _set(layer: Any, weights: Floats, bias: Floats) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.array(weights.T)))
        layer.bias.copy_(torch.from_numpy(np.array(bias)))


def _own_model(settings: SB3, row: Floats, envs: Envs) -> Any:
    world = Collector(
        envs.subset([0]).vector(settings.n_envs), 1, int(np.prod(envs.observation_shape))
    )
    copies = Copies(world, envs.observation_space, envs.n_actions)
    model, _ = build(settings, copies)
    network = SB3Network([model.policy], envs.observation_shape, envs.n_actions, 1.0)
    network.params[0] = row
    model.env = None  # our copies are of no use outside
    return model


def load_weights(model: Any, path: Path) -> None:
    """Load the policy's weights from an SB3 zip; nothing in it is unpickled.

    Raises `FdrlError` if it is no such file, or its network is of another shape.
    """
    try:
        with zipfile.ZipFile(path) as file:
            data = io.BytesIO(file.read("policy.pth"))
        weights = torch.load(data, map_location="cpu", weights_only=True)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise FdrlError(f"{path} is not a model saved by Stable-Baselines3: {error}") from None
    except Exception as error:  # what torch says of anything but plain weights
        raise FdrlError(f"{path}: its weights cannot be loaded safely: {error}") from None
    try:
        model.policy.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise FdrlError(f"{path} holds another network: {first}") from None
