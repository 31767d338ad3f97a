"""Grids of small images as PNG files whose rows can be read back; imports no torch."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from vaegan.files import write_whole

_SIDE = 28  # pixels of an image
_GAP = 1  # pixels between two images
_SCALE = 2  # every pixel is drawn this many times as large
_GREY = 64
_LABEL_WIDTH = 106
_ROWS = "rows"  # key of the PNG's text that names the rows, the first on top


def draw(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (N, 784) uint8 in rows of `columns`, grey, (H, W) uint8."""
    rows = -(-len(images) // columns)
    pitch = _SIDE + _GAP
    grid = np.full((rows * pitch + _GAP, columns * pitch + _GAP), _GREY, np.uint8)
    for number, image in enumerate(images.reshape(-1, _SIDE, _SIDE)):
        row, column = divmod(number, columns)
        top, left = _GAP + row * pitch, _GAP + column * pitch
        grid[top : top + _SIDE, left : left + _SIDE] = image
    return grid.repeat(_SCALE, 0).repeat(_SCALE, 1)


def draw_rows(rows: dict[str, np.ndarray]) -> np.ndarray:
    """One row of images (N, 784) uint8 for each name, which stands to its left, grey, (H, W) uint8."""
    grid = draw(np.concatenate(list(rows.values())), columns=len(next(iter(rows.values()))))
    picture = Image.new("L", (grid.shape[1] + _LABEL_WIDTH, grid.shape[0]), 255)
    picture.paste(Image.fromarray(grid), (_LABEL_WIDTH, 0))
    for number, name in enumerate(rows):
        middle = (number + 0.5) * grid.shape[0] / len(rows)
        ImageDraw.Draw(picture).text((_LABEL_WIDTH - 6, middle), name, fill=0, anchor="rm", font_size=15)
    return np.asarray(picture)


def png(picture: np.ndarray, rows: list[str] | None = None) -> bytes:
    """A picture (H, W, 3) or grey (H, W), uint8, as the bytes of a PNG; `rows` are the names that `read_rows` gives back."""
    text = PngInfo()
    if rows:
        text.add_text(_ROWS, ",".join(rows))
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", pnginfo=text, compress_level=1)  # twice as fast as 6, 7 % larger
    return file.getvalue()


def save(picture: np.ndarray, path: Path, rows: list[str] | None = None) -> None:
    """Save `png(picture, rows)`."""
    write_whole(path, png(picture, rows))


def read_rows(path: Path) -> dict[str, np.ndarray]:
    """{name: images (N, 28, 28) uint8} of a PNG that draw_rows and save made.

    Raises:
        OSError, ValueError: there is no such PNG there.
    """
    with Image.open(path) as file:
        names = file.text.get(_ROWS, "").split(",") if file.format == "PNG" else [""]
        picture = np.asarray(file.convert("L"))
    grid = picture[::_SCALE, _LABEL_WIDTH::_SCALE]
    pitch = _SIDE + _GAP
    if names == [""] or grid.shape[0] != len(names) * pitch + _GAP or (grid.shape[1] - _GAP) % pitch:
        raise ValueError(f"{path} is not a grid of images with named rows.")
    cells = grid[_GAP:, _GAP:].reshape(len(names), pitch, -1, pitch)[:, :_SIDE, :, :_SIDE]
    return dict(zip(names, cells.transpose(0, 2, 1, 3), strict=True))
