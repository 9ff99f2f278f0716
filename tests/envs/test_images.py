"""Classification as an environment."""

import gzip

import gymnasium
import numpy as np
import pytest
from fdrl.envs.images import digits, find_idx, make_fashion, make_mnist, read_idx, read_images
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from idx_files import idx_bytes, tiny_idx
from messages import fails

from fdrl import FdrlError


def test_the_embedded_digits_are_the_published_ones():
    data = digits()
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
    data = digits()
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
    own = make_mnist(str(folder))
    assert own.observation_space.shape == (784,)
    assert own.samples.train[0].max() == np.float32(250 / 255)
    monkeypatch.setenv("FDRL_DATA", str(tmp_path))
    assert make_mnist().samples is own.samples
    with pytest.raises(FdrlError, match="no folder"):
        make_fashion()


def test_without_a_folder_the_way_out_is_named(monkeypatch):
    monkeypatch.delenv("FDRL_DATA", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(FdrlError, match=r"env_kwargs\.data_dir"):
        make_mnist()


# ---- Reading IDX files, whole and damaged ----


@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, max_side=5)), st.booleans())
def test_any_array_survives(tmp_path_factory, array, zipped):
    path = tmp_path_factory.mktemp("idx") / "a"
    path.write_bytes(gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array))
    np.testing.assert_array_equal(read_idx(path), array)


def test_a_file_written_by_hand(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9]))
    np.testing.assert_array_equal(read_idx(path), [[7, 8, 9]])


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "starts with"),
        (b"PNG..", "starts with"),
        (bytes([0, 0, 13, 1, 0, 0, 0, 1, 0]), "00 00 08"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 9, 1, 2]), "damaged"),
        (bytes([0, 0, 8, 3, 0, 0]), "damaged"),
        (gzip.compress(bytes(range(256)))[:-12], "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, data, complaint):
    path = tmp_path / "train"
    path.write_bytes(data)
    with pytest.raises(FdrlError, match=complaint) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_both_spellings_and_compression_are_found(tmp_path):
    images, labels = read_images(tiny_idx(tmp_path), "t10k")
    assert images.shape == (40, 28, 28)
    assert labels.tolist()[:3] == [0, 1, 2]
    assert find_idx(tmp_path, "train-images-idx3-ubyte").suffix == ".gz"


def test_a_missing_file_or_folder_is_named(tmp_path):
    with fails(FdrlError, "train-labels-idx1-ubyte"):
        find_idx(tmp_path, "train-labels-idx1-ubyte")
    with pytest.raises(FdrlError, match="no folder"):
        find_idx(tmp_path / "nowhere", "train-labels-idx1-ubyte")


def test_labels_must_fit_the_images(tmp_path):
    tiny_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(39, np.uint8)))
    with pytest.raises(FdrlError, match="39"):
        read_images(tmp_path, "train")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.full(40, 11, np.uint8)))
    with pytest.raises(FdrlError, match="label 11"):
        read_images(tmp_path, "train")
