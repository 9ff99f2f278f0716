"""Learners that ship with fdrl, written exactly as a user would write theirs."""

from fdrl.core.registry import register_agent

EXPORT = "fdrl.agents.sb3.export:export"


def register() -> None:
    """Register the built-in learners (called through the ``fdrl.plugins`` entry point)."""
    register_agent(
        "ppo",
        settings="fdrl.agents.ppo:PPO",
        factory="fdrl.agents.ppo:make",
        summary="Proximal policy optimization, all agents in one batched program.",
        abilities=("values", "pooling"),
        export=EXPORT,
        default=True,
    )
    register_agent(
        "a2c",
        settings="fdrl.agents.a2c:A2C",
        factory="fdrl.agents.a2c:make",
        summary="Advantage actor-critic, all agents in one batched program.",
        abilities=("values", "pooling"),
        export=EXPORT,
    )
    register_agent(
        "reinforce",
        settings="fdrl.agents.reinforce:Reinforce",
        factory="fdrl.agents.reinforce:make",
        summary="REINFORCE with normalized returns, an update an episode, no value network.",
        export=EXPORT,
    )
    register_agent(
        "classifier",
        settings="fdrl.agents.classifier:Classifier",
        factory="fdrl.agents.classifier:make",
        summary="Supervised learning from labeled samples that each agent owns.",
        abilities=("labels",),
    )
    register_agent(
        "sb3",
        settings="fdrl.agents.sb3.settings:SB3",
        factory="fdrl.agents.sb3.cohort:make",
        adopt="fdrl.agents.sb3.template:adopt",
        offers=("PPO", "A2C", "DQN"),
        summary="Stable-Baselines3's PPO, A2C or DQN, one model an agent.",
        export=EXPORT,
    )
