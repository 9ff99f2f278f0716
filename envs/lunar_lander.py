"""Gymnasium's LunarLander with wind as one number: importing this registers it.

Needs Box2D (the extra ``box2d``).
"""

from __future__ import annotations

import gymnasium
from gymnasium.envs.box2d.lunar_lander import LunarLander

ID = "fdrl/LunarLander-v3"


class Lander(LunarLander):
    """LunarLander whose wind blows if `wind_power` is above 0, turbulence in proportion.

    Without wind it is Gymnasium's, to the bit. Gymnasium's defaults (15 and 1.5) are what
    ``enable_wind=True`` alone gives.
    """

    def __init__(
        self,
        render_mode: str | None = None,
        continuous: bool = False,
        gravity: float = -10.0,
        enable_wind: bool | None = None,
        wind_power: float | None = None,
        turbulence_power: float | None = None,
    ) -> None:
        if wind_power is None:
            wind_power = 15.0 if enable_wind else 0.0
        super().__init__(
            render_mode=render_mode,
            continuous=continuous,
            gravity=gravity,
            enable_wind=wind_power > 0.0 if enable_wind is None else enable_wind,
            wind_power=wind_power,
            turbulence_power=wind_power / 10 if turbulence_power is None else turbulence_power,
        )


if ID not in gymnasium.registry:
    gymnasium.register(
        ID,
        entry_point="fdrl.envs.lunar_lander:Lander",
        max_episode_steps=1000,
        reward_threshold=200.0,
    )
