"""Environments that ship with fdrl, written exactly as a user would write theirs."""

from __future__ import annotations

import math

from fdrl.core.registry import Physics, register_env, register_parallel


def register() -> None:
    """Register the built-in environments (called through the ``fdrl.plugins`` entry point)."""
    _register_cartpole()
    _register_acrobot()
    _register_mountain_car()
    _register_continuous()
    _register_lander()
    _register_conflict()
    _register_images()
    _register_pixelgrid()
    register_parallel("fdrl/SpectrumAccess-v0", "fdrl.envs.spectrum")
    register_parallel("fdrl/DroneCorridor-v0", "fdrl.envs.drones")


def _fixed(default: float, low: float = float("-inf")) -> Physics:
    return Physics(default, low=low, varies=False)


def _register_cartpole() -> None:
    register_env(
        "CartPole-v1",
        summary="Balance a pole on a cart; 500 steps at most.",
        gym_id="CartPole-v1",
        vector="fdrl.envs.classic_control.cartpole:CartPole",
        default=True,
        physics={
            "length": Physics(0.5, low=0.01),
            "masspole": Physics(0.1, low=0.001),
            "gravity": _fixed(9.8),
            "masscart": _fixed(1.0, low=0.001),
            "force_mag": _fixed(10.0),
            "tau": _fixed(0.02, low=0.0),
        },
        init=(-0.05, 0.05, 0.05),
        max_steps=500,
        threshold=475.0,
        proxy_low=(-2.4, -3.0, -0.2095, -3.5),
        proxy_high=(2.4, 3.0, 0.2095, 3.5),
    )


def _register_acrobot() -> None:
    positive = 0.01
    register_env(
        "Acrobot-v1",
        summary="Swing a two-link arm up to a bar; -1 a step, 500 steps at most.",
        gym_id="Acrobot-v1",
        vector="fdrl.envs.classic_control.acrobot:Acrobot",
        physics={
            "link_length_1": Physics(1.0, low=positive),
            "link_length_2": Physics(1.0, low=positive),
            "link_mass_1": Physics(1.0, low=positive),
            "link_mass_2": Physics(1.0, low=positive),
            "link_com_pos_1": _fixed(0.5, low=0.0),
            "link_com_pos_2": _fixed(0.5, low=0.0),
            "link_moi": _fixed(1.0, low=positive),
        },
        init=(-0.1, 0.1, 0.5),
        max_steps=500,
        threshold=-100.0,
        # cosines and sines of two angles; the velocities of swinging up, not the clipped extremes
        proxy_low=(-1.0, -1.0, -1.0, -1.0, -5.0, -10.0),
        proxy_high=(1.0, 1.0, 1.0, 1.0, 5.0, 10.0),
    )


def _register_mountain_car() -> None:
    register_env(
        "MountainCar-v0",
        summary="Rock a weak car out of a valley; -1 a step, 200 steps at most.",
        gym_id="MountainCar-v0",
        vector="fdrl.envs.classic_control.mountain_car:MountainCar",
        physics={
            "gravity": Physics(0.0025, low=0.0),
            "force": _fixed(0.001, low=0.0),
            "goal_velocity": _fixed(0.0),
        },
        init=(-0.6, -0.4, 0.2),
        max_steps=200,
        threshold=-110.0,
        proxy_low=(-1.2, -0.07),
        proxy_high=(0.6, 0.07),
    )


def _register_continuous() -> None:
    register_env(
        "Pendulum-v1",
        summary="Swing a rod up with a weak motor and hold it (continuous torque); 200 steps.",
        gym_id="Pendulum-v1",
        vector="fdrl.envs.classic_control.pendulum:Pendulum",
        physics={
            "l": Physics(1.0, low=0.1),
            "m": Physics(1.0, low=0.1),
            "g": _fixed(10.0),
        },
        init=(-1.0, 1.0, 0.5),
        max_steps=200,
        threshold=-250.0,
        proxy_low=(-1.0, -1.0, -8.0),
        proxy_high=(1.0, 1.0, 8.0),
    )
    register_env(
        "MountainCarContinuous-v0",
        summary="Rock a weak car out of a valley by continuous pushes; 999 steps at most.",
        gym_id="MountainCarContinuous-v0",
        vector="fdrl.envs.classic_control.continuous_mountain_car:ContinuousMountainCar",
        physics={"power": Physics(0.0015, low=0.0005), "goal_velocity": _fixed(0.0)},
        init=(-0.6, -0.4, 0.2),
        max_steps=999,
        threshold=90.0,
        proxy_low=(-1.2, -0.07),
        proxy_high=(0.6, 0.07),
    )


def _register_lander() -> None:
    for name, engines in (("LunarLander-v3", ""), ("LunarLanderContinuous-v3", " by throttles")):
        register_env(
            name,
            summary=f"Land softly between two flags{engines}; 1000 steps at most.",
            gym_id="fdrl.envs.lunar_lander:fdrl/LunarLander-v3",
            kwargs={"continuous": True} if engines else {},
            physics={
                # Gymnasium refuses gravity outside (-12, 0) and advises wind_power up to 20
                "gravity": Physics(-10.0, low=-11.99, high=-0.5),
                "wind_power": Physics(0.0, low=0.0, high=20.0),
            },
            max_steps=1000,
            threshold=200.0,
            # position, velocity, angle, spin, legs: where landings happen, inside the bounds
            proxy_low=(-1.0, -0.3, -1.5, -1.5, -math.pi / 4, -1.5, 0.0, 0.0),
            proxy_high=(1.0, 1.6, 1.5, 0.5, math.pi / 4, 1.5, 1.0, 1.0),
            extra="box2d",
        )


def _register_conflict() -> None:
    register_env(
        "fdrl/Conflict-v0",
        summary="Leave a small grid by the exit that one's rewards prefer; 50 steps at most.",
        gym_id="fdrl.envs.conflict:fdrl/Conflict-v0",
        vector="fdrl.envs.conflict:Conflict",
        physics={
            "step_cost": Physics(0.01, low=0.0, high=1.0),
            "side": Physics(1.0, low=-1.0, high=1.0, varies=False, conflicts=True),
        },
        init=(0.0, 1.0, 0.3),
        max_steps=50,
        threshold=0.93,
        proxy_low=(-1.0, -1.0),
        proxy_high=(1.0, 1.0),
    )


def _register_images() -> None:
    for name, summary in (
        ("Digits", "Name the digit in an 8 x 8 image; 1,437 images, embedded."),
        ("MNIST", "Name the digit in a 28 x 28 image; IDX files from env_kwargs.data_dir."),
        ("FashionMNIST", "Name the garment in a 28 x 28 image; IDX files, likewise."),
    ):
        register_env(
            f"fdrl/{name}-v0",
            summary=summary,
            gym_id=f"fdrl.envs.images:fdrl/{name}-v0",
            max_steps=1,
            threshold=0.9,
            labels=True,
        )


def _register_pixelgrid() -> None:
    register_env(
        "fdrl/PixelGrid-v0",
        summary="Walk to the goal in a picture of 7 x 7 cells; 40 steps at most.",
        gym_id="fdrl.envs.pixelgrid:fdrl/PixelGrid-v0",
        vector="fdrl.envs.pixelgrid:PixelGrid",
        physics={"step_cost": Physics(0.02, low=0.0, high=1.0)},
        init=(0.0, 1.0, 0.3),
        max_steps=40,
        threshold=0.85,
    )
