"""Classification as an environment."""

import gymnasium
import numpy as np
import pytest
from fdrl.envs import images
from gymnasium.utils.env_checker import check_env
from idx_files import tiny_idx

from fdrl import FdrlError


def test_the_embedded_digits_are_the_published_ones():
    data = images.digits()
    assert data.train[0].shape == (1437, 64)
    assert data.test[0].shape == (360, 64)
    everything = np.concatenate([data.train[1], data.test[1]])
    # the label counts that the UCI repository and scikit-learn's documentation give
    assert np.bincount(everything).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # the first image, a zero, row by row in sixteenths
    assert (data.train[0][0, :8] * 16).tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert data.train[1][:5].tolist() == [0, 1, 2, 3, 4]


def test_gymnasiums_checker_and_the_reward():
    env = gymnasium.make("fdrl/Digits-v0", render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=True)
    shown, _ = env.reset(seed=3)
    data = images.digits()
    index = int(np.flatnonzero((data.train[0] == shown).all(1))[0])
    right = data.train[1][index]
    _, reward, terminated, truncated, _ = env.step(right)
    assert (reward, terminated, truncated) == (1.0, True, False)
    env.reset(seed=3)
    assert env.step((right + 1) % 10)[1] == 0.0
    assert env.render().shape == (64, 64, 3)


def test_mnist_from_a_folder_and_from_the_common_one(tmp_path, monkeypatch):
    folder = tmp_path / "mnist"
    folder.mkdir()
    tiny_idx(folder)
    own = images.make_mnist(str(folder))
    assert own.observation_space.shape == (784,)
    assert own.samples.train[0].max() == np.float32(250 / 255)
    monkeypatch.setenv("FDRL_DATA", str(tmp_path))
    assert images.make_mnist().samples is own.samples
    with pytest.raises(FdrlError, match="no folder"):
        images.make_fashion()


def test_without_a_folder_the_way_out_is_named(monkeypatch):
    monkeypatch.delenv("FDRL_DATA", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(FdrlError, match=r"env_kwargs\.data_dir"):
        images.make_mnist()
