"""A user's own Stable-Baselines3 model."""

import stable_baselines3
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy


class Counts(BaseCallback):
    """Counts the steps it was told of."""

    seen = 0

    def _on_step(self) -> bool:
        Counts.seen += 1
        return True


def own_model(env):
    """Two small layers of ReLU, a schedule, and a callback."""
    model = stable_baselines3.PPO(
        "MlpPolicy",
        env,
        n_steps=32,
        batch_size=32,
        learning_rate=lambda left: 1e-3 * left,
        policy_kwargs={"net_arch": [8, 8], "activation_fn": torch.nn.ReLU},
        device="cpu",
    )
    return model, Counts()


def gentle(left):
    """A schedule that any process can import."""
    return 1e-3 * left


def counts():
    """Make a callback."""
    return Counts()


class SmallPolicy(ActorCriticPolicy):
    """A policy class of the user's own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**kwargs, "net_arch": [6]})


def small_model(env):
    """What the tests' own model object is, made by a function."""
    return stable_baselines3.PPO(
        "MlpPolicy",
        env,
        n_steps=32,
        batch_size=16,
        n_epochs=2,
        learning_rate=gentle,
        clip_range=0.1,
        policy_kwargs={"net_arch": [8], "activation_fn": torch.nn.ReLU},
        device="cpu",
    )
