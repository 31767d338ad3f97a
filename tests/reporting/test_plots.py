import numpy as np
from PIL import Image

from vaegan.reporting import plots


def colours(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).reshape(-1, 3)


def test_curves_draw_what_the_rows_hold(tmp_path):
    rows = [{"epoch": e, "step": e, "train/loss": 100.0 / e, "test/loss": 90.0 / e} for e in range(1, 6)]
    plots.loss_curves(rows, tmp_path / "two.png")
    plots.loss_curves([{k: v for k, v in row.items() if k != "test/loss"} for row in rows], tmp_path / "one.png")
    two, one = (colours(tmp_path / name) for name in ("two.png", "one.png"))
    orange, blue = (0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)
    assert (two == orange).all(1).sum() > 100
    assert (one == orange).all(1).sum() == 0
    assert (one == blue).all(1).sum() > 100


def test_scatter_is_a_picture_with_the_colours_of_the_digits_present():
    codes = np.random.default_rng(0).normal(size=(300, 2))
    picture = plots.latent_scatter(codes, np.repeat([3, 7], 150))
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.std() > 1
    assert np.array_equal(picture, plots.latent_scatter(codes, np.repeat([3, 7], 150)))
