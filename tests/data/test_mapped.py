"""Images that stay on disk, against the same images in memory."""

import errno
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_data import NAMES, noise, write_own

from vaegan.data import mapped
from vaegan.data.idx import write_idx
from vaegan.errors import UserError

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = NAMES


@pytest.fixture
def own(tmp_path):
    """(folder, arrays): 24 training and 10 test images of noise."""
    arrays = noise()
    return write_own(tmp_path / "own", arrays), arrays


def test_what_is_read_is_what_was_written(own):
    folder, arrays = own
    (images, labels), (test_images, test_labels) = mapped.load(folder, 24)
    expected = torch.from_numpy(arrays[0]).flatten(1)
    assert torch.equal(images[:], expected) and torch.equal(labels, torch.from_numpy(arrays[1]).long())
    assert torch.equal(test_images[:], torch.from_numpy(arrays[2]).flatten(1))
    assert torch.equal(test_labels, torch.from_numpy(arrays[3]).long())
    assert torch.equal(images[5:9], expected[5:9])
    assert torch.equal(torch.cat(list(images.split(7))), expected)
    assert [len(part) for part in images.split(7)] == [7, 7, 7, 3]
    places = torch.tensor([20, 3, 3, 7])
    assert torch.equal(images[places], expected[places])
    assert len(images[30:]) == 0


def test_a_choice_of_a_choice_is_the_tensor_s(own):
    folder, arrays = own
    images, expected = mapped.load(folder, 24)[0][0], torch.from_numpy(arrays[0]).flatten(1)
    odd, few = torch.arange(1, 14, 2), torch.tensor([0, 2, 5])
    chosen = images.only(slice(6, 20)).only(odd)
    assert len(chosen) == 7
    assert torch.equal(chosen[:], expected[6:20][odd])
    assert torch.equal(chosen.only(slice(1, 4))[few[:2]], expected[6:20][odd][1:4][few[:2]])
    assert torch.equal(chosen[few], expected[6:20][odd][few])


def test_what_is_read_can_be_written_to_and_the_file_stays_as_it_was(own):
    folder, _ = own
    before = (folder / TRAIN_IMAGES).read_bytes()
    images = mapped.load(folder, 24)[0][0]
    for read in (images[:], images[torch.arange(24)]):
        read.zero_()
    assert (folder / TRAIN_IMAGES).read_bytes() == before


def test_the_first_images_are_the_ones_that_are_used(own):
    folder, arrays = own
    images, labels = mapped.load(folder, 9)[0]
    assert torch.equal(images[:], torch.from_numpy(arrays[0][:9]).flatten(1))
    assert torch.equal(labels, torch.from_numpy(arrays[1][:9]).long())
    with pytest.raises(UserError, match=rf"data.num_images is 25, but \S+{TRAIN_IMAGES} has only 24 images; choose"):
        mapped.load(folder, 25)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "content, said",
    [
        (None, r"cannot be read \(No such file or directory\): data=own needs this file, unpacked, in .*data\.root"),
        (b"", "is not an IDX file of unsigned bytes: it begins with nothing"),
        (b"\x1f\x8b\x08\x08" + bytes(100), "is not an IDX file of unsigned bytes: it begins with 1f 8b 08 08"),
        (write_idx(np.zeros((24, 28, 28), np.uint8))[:-1], "has 18831 bytes, where its IDX header announces 18832"),
        (write_idx(np.zeros((3, 28, 27), np.uint8)), r"holds 3 x 28 x 27 "),
        (write_idx(np.zeros((0, 28, 28), np.uint8)), r"holds 0 x 28 x 28 "),
        (write_idx(np.zeros(7, np.uint8)), r"holds 7 "),
    ],
)
def test_a_wrong_file_is_named(own, name, content, said):
    folder, _ = own
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} {said}"):
        mapped.load(folder, 24)


def test_a_folder_in_the_place_of_a_file_is_a_sentence(own):
    folder, _ = own
    (folder / TEST_LABELS).unlink()
    (folder / TEST_LABELS).mkdir()
    with pytest.raises(UserError, match=rf"{TEST_LABELS} cannot be read \(Is a directory\)"):
        mapped.load(folder, 24)


@pytest.mark.parametrize("what", ["shorter", "gone"])
def test_a_file_that_changes_later_is_a_sentence_and_no_signal(own, what):
    folder, _ = own
    images = mapped.load(folder, 24)[0][0]
    path = folder / TRAIN_IMAGES
    if what == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    reason = "No such file or directory" if what == "gone" else "mmap length is greater than file size"
    with pytest.raises(UserError, match=rf"{TRAIN_IMAGES} can no longer be read \({reason}\); put the file back"):
        images[:]
    if what == "shorter":
        assert len(images[:23]) == 23  # what is there


def test_an_error_of_the_disk_is_a_sentence(own, monkeypatch):
    images = mapped.load(own[0], 24)[0][0]

    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(np, "memmap", fail)
    with pytest.raises(UserError, match=r"can no longer be read \(Input/output error\)"):
        images[:]


MEMORY = """
import sys
from pathlib import Path
import psutil, torch
from vaegan.data import mapped
from vaegan.data.batches import EpochOrder, MappedBatches
(images, labels), test = mapped.load(Path(sys.argv[1]), int(sys.argv[2]))
loader = MappedBatches(images, labels, 2000, EpochOrder(len(images), 0))
process, most = psutil.Process(), 0
before = process.memory_info().rss
for number, (batch, _) in enumerate(loader):
    if number % 4 == 0:
        most = max(most, process.memory_info().rss)
print(number + 1, (most - before) / 2**20)
"""


def test_an_epoch_of_a_file_of_a_gigabyte_takes_little_memory(tmp_path):
    number, none, one = 2**30 // 784, np.zeros((0, 28, 28), np.uint8), np.zeros((1, 28, 28), np.uint8)
    write_own(tmp_path, (none, np.zeros(number, np.uint8), one, np.zeros(1, np.uint8)))
    with (tmp_path / TRAIN_IMAGES).open("r+b") as file:  # zeros that take no room on the disk
        file.seek(4)
        file.write(number.to_bytes(4, "big"))
        file.truncate(16 + 784 * number)
    done = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path), str(number)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    batches, mebibytes = map(float, done.stdout.split())
    assert batches == number // 2000
    assert mebibytes < 100
