"""Reading IDX files, whole and damaged."""

import gzip

import numpy as np
import pytest
from fdrl.envs.idx import find_idx, read_idx, read_images
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from idx_files import idx_bytes, tiny_idx
from messages import fails

from fdrl import FdrlError


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
