import numpy as np
import pytest
from PIL import Image

from vaegan.reporting import grids

RANDOM = np.random.default_rng(0)
ROWS = {name: RANDOM.integers(0, 256, (5, 784), dtype=np.uint8) for name in ("clean", "noisy", "reconstructed")}


def test_an_image_stands_in_its_cell_twice_as_large():
    images = RANDOM.integers(0, 256, (7, 784), dtype=np.uint8)
    grid = grids.draw(images, columns=3)
    assert grid.shape == (2 * (3 * 29 + 1), 2 * (3 * 29 + 1))
    top, left = 2 * (1 + 29), 2 * (1 + 29 * 2)  # row 1, column 2: the sixth image
    assert np.array_equal(grid[top : top + 56 : 2, left + 1 : left + 56 : 2], images[5].reshape(28, 28))


def test_rows_come_back_from_the_file(tmp_path):
    path = tmp_path / "rows.png"
    grids.save(grids.draw_rows(ROWS), path, list(ROWS))
    read = grids.read_rows(path)
    assert list(read) == list(ROWS)
    for name, images in ROWS.items():
        assert np.array_equal(read[name], images.reshape(5, 28, 28))


@pytest.mark.parametrize("content", ["no rows named", "other size", "no image", "missing"])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "rows.png"
    if content == "no rows named":
        grids.save(grids.draw_rows(ROWS), path)
    elif content == "other size":
        grids.save(grids.draw_rows(ROWS)[:-2], path, list(ROWS))
    elif content == "no image":
        path.write_text("text")
    with pytest.raises((OSError, ValueError)):
        grids.read_rows(path)


def test_the_file_is_an_ordinary_png(tmp_path):
    grids.save(grids.draw_rows(ROWS), tmp_path / "rows.png", list(ROWS))
    with Image.open(tmp_path / "rows.png") as image:
        assert image.format == "PNG"
        assert image.size[1] == 2 * (3 * 29 + 1)
