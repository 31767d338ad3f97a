"""The IDX format, against bytes written by hand and by torchvision's reader of it."""

import re

import numpy as np
import pytest

from vaegan.data.idx import read_idx, write_idx
from vaegan.errors import UserError

# Two "images" of 2 x 3 and three labels, as the format's description on Yann LeCun's site lays them out.
IMAGES = bytes.fromhex("00000803 00000002 00000002 00000003") + bytes([0, 1, 2, 3, 4, 5, 250, 251, 252, 253, 254, 255])
LABELS = bytes.fromhex("00000801 00000003") + bytes([7, 0, 9])


def test_hand_written_images_are_read_in_c_order():
    images = read_idx(IMAGES, "images")
    assert images.dtype == np.uint8
    assert images.tolist() == [[[0, 1, 2], [3, 4, 5]], [[250, 251, 252], [253, 254, 255]]]


def test_hand_written_labels_are_read():
    assert read_idx(LABELS, "labels").tolist() == [7, 0, 9]


def test_written_bytes_are_the_hand_written_ones():
    assert write_idx(np.array([7, 0, 9], np.uint8)) == LABELS
    assert write_idx(read_idx(IMAGES, "images")) == IMAGES


@pytest.mark.parametrize("shape", [(1,), (300,), (5, 28, 28), (2, 3, 4, 5), (0,), (0, 28, 28)])
def test_round_trip(shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    back = read_idx(write_idx(array), "file")
    assert back.shape == shape
    assert np.array_equal(back, array)


def test_an_array_in_another_memory_order_is_written_in_c_order():
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert np.array_equal(read_idx(write_idx(array.T), "file"), array.T)


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_any_buffer_is_read_without_a_copy(buffer):
    data = buffer(IMAGES)
    images = read_idx(data, "images")
    assert images[1, 1, 2] == 255
    assert np.shares_memory(images, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(
    "data, said",
    [
        (b"", "nothing"),
        (b"\x00\x00\x08", "00 00 08"),
        (b"\x1f\x8b\x08\x08" + IMAGES[4:], "1f 8b 08 08"),  # a .gz under the unpacked name
        (b"\x00\x00\x0d\x03" + IMAGES[4:], "00 00 0d 03"),  # floats
        (b"\x00\x00\x08\x00", "00 00 08 00"),  # no dimension
        (b"\x08\x00\x00\x03" + IMAGES[4:], "08 00 00 03"),
    ],
)
def test_a_wrong_magic_number_names_the_file_and_the_bytes(data, said):
    with pytest.raises(UserError, match=f"^some/file is not an IDX file .* begins with {said}, "):
        read_idx(data, "some/file")


@pytest.mark.parametrize("num_bytes", [4, 8, 15])
def test_a_file_that_ends_in_its_header(num_bytes):
    with pytest.raises(UserError, match=f"^some/file ends inside its IDX header: .* 16 bytes, and it has {num_bytes};"):
        read_idx(IMAGES[:num_bytes], "some/file")


@pytest.mark.parametrize("data", [IMAGES[:16], IMAGES[:-1], IMAGES + b"\x00"])
def test_a_wrong_length_is_told_with_the_right_one(data):
    with pytest.raises(
        UserError, match=re.escape(f"some/file has {len(data)} bytes, where its IDX header announces 28")
    ):
        read_idx(data, "some/file")


def test_sizes_that_overflow_beside_a_size_of_zero():
    with pytest.raises(UserError, match="^some/file announces dimensions"):
        read_idx(bytes.fromhex("00000804 00000000 ffffffff ffffffff ffffffff"), "some/file")


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros(3, np.int8), np.uint8(3) * np.ones((), np.uint8)])
def test_only_uint8_arrays_of_a_dimension_or_more_are_written(array):
    with pytest.raises(ValueError, match="uint8"):
        write_idx(array)
