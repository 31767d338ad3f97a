import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.restoration import denoise_nl_means

from vaegan.data import sources
from vaegan.data.batches import pixels
from vaegan.data.corruption import corrupt
from vaegan.evaluation import baselines
from vaegan.evaluation.baselines import FILTERS, best_setting, median_filter, restore
from vaegan.evaluation.result import NotApplicable

SIGMA = 0.5
SETTINGS = {  # one of each, none a default
    "noisy": {},
    "gaussian_filter": {"std": 0.8},
    "median_filter": {"size": 5},
    "nl_means": {"patch_size": 3, "patch_distance": 4, "h": 0.3, "sigma": 0.2},
}
MISSING = "scikit-image is not installed; pip install 'vaegan[denoising]'"


def images(split: str, number: int, sigma: float = SIGMA, clip: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy and clean digits, (N, 784)."""
    x = pixels(torch.from_numpy(getattr(sources.load("digits", None), f"{split}_images")[:number]))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(len(split)))
    return corrupt(x, noise, sigma, clip), x


def square(noisy: torch.Tensor) -> np.ndarray:
    return noisy.view(-1, 28, 28).numpy()


def run(root: Path, num_test: int = 20, sigma: float = SIGMA) -> baselines.Baselines:
    return baselines.baselines(*images("train", 8, sigma), *images("test", num_test, sigma), sigma, root)


@pytest.fixture
def without_skimage(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "skimage"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "skimage", None)


def test_median_filter_removes_a_single_bright_pixel_and_keeps_an_edge():
    image = np.zeros((1, 28, 28), np.float32)
    image[0, :, 14:] = 0.5
    salted = image.copy()
    salted[0, 5, 5] = 1
    assert np.array_equal(median_filter(salted, 3), image)


@pytest.mark.parametrize("size", [3, 5, 7])
def test_median_filter_is_scipys_bit_for_bit(size):
    noisy = square(images("test", 230, clip=False)[0])  # more than two blocks, the last one incomplete
    assert np.array_equal(median_filter(noisy, size), ndimage.median_filter(noisy, (1, size, size)))


@pytest.mark.parametrize("name", FILTERS)
def test_an_image_is_restored_as_if_it_were_the_only_one(name):
    noisy, _ = images("test", 5)
    among_others = restore(name, noisy, SETTINGS[name])
    alone = torch.cat([restore(name, image[None], SETTINGS[name]) for image in noisy])
    assert torch.equal(among_others, alone)


@pytest.mark.parametrize("name", FILTERS)
def test_filters_clip_and_the_noisy_images_are_left_alone(name):
    noisy, _ = images("test", 5, sigma=1.0, clip=False)
    before = noisy.clone()
    restored = restore(name, noisy, SETTINGS[name])
    assert torch.equal(noisy, before)
    unclipped = torch.from_numpy(FILTERS[name].restore(square(noisy), **SETTINGS[name])).flatten(1)
    assert unclipped.min() < 0
    assert torch.equal(restored, noisy if name == "noisy" else unclipped.clamp(0, 1))


def by_hand(name: str, image: np.ndarray, setting: dict) -> np.ndarray:
    """One image (28, 28), by the libraries alone."""
    if name == "gaussian_filter":
        return ndimage.gaussian_filter(image, setting["std"])
    if name == "median_filter":
        return ndimage.median_filter(image, setting["size"])
    return denoise_nl_means(image, fast_mode=True, **setting)


@pytest.mark.parametrize("name", ["gaussian_filter", "median_filter", "nl_means"])
@pytest.mark.parametrize(("sigma", "clip"), [(0.1, True), (0.5, False)])
def test_the_chosen_setting_is_the_best_of_the_grid(name, sigma, clip):
    noisy, clean = images("train", 6, sigma, clip)
    errors = {
        json.dumps(setting): np.mean(
            [
                (np.clip(by_hand(name, image, setting), 0, 1) - target) ** 2
                for image, target in zip(square(noisy), square(clean), strict=True)
            ]
        )
        for setting in FILTERS[name].settings(sigma)
    }
    assert json.dumps(best_setting(name, noisy, clean, sigma)) == min(errors, key=errors.get)


def test_a_setting_is_chosen_on_no_more_training_images_than_stated():
    noisy, clean = images("train", baselines.NUM_TRAINING + 400)
    chosen = best_setting("gaussian_filter", noisy, clean, SIGMA)
    noisy[baselines.NUM_TRAINING :] = clean[baselines.NUM_TRAINING :]  # would ask for no blur at all
    assert best_setting("gaussian_filter", noisy, clean, SIGMA) == chosen != {"std": 0.3}


def test_strengths_of_non_local_means_follow_the_noise():
    for weak, strong in zip(FILTERS["nl_means"].settings(0.25), FILTERS["nl_means"].settings(0.5), strict=True):
        assert (2 * weak["h"], 2 * weak["sigma"]) == pytest.approx((strong["h"], strong["sigma"]))


def test_every_filter_beats_the_noisy_digits_at_half_noise(tmp_path):
    found = run(tmp_path)
    assert found.metrics.keys() == found.settings.keys() == FILTERS.keys()
    assert not found.not_applicable
    for name in ("gaussian_filter", "median_filter", "nl_means"):
        for key, sign in {"mse": -1, "psnr": 1, "ssim": 1}.items():
            assert sign * found.metrics[name][key].value > sign * found.metrics["noisy"][key].value, (name, key)


def test_non_local_means_are_measured_on_a_stated_part_of_the_test_images(tmp_path, monkeypatch):
    monkeypatch.setitem(FILTERS, "nl_means", baselines.Filter(lambda images: images, lambda sigma: [{}], num_test=10))
    found = run(tmp_path)
    assert {name: metrics["mse"].n for name, metrics in found.metrics.items()} == {
        "noisy": 20,
        "gaussian_filter": 20,
        "median_filter": 20,
        "nl_means": 10,
    }


def test_the_second_call_reads_what_the_first_has_written(tmp_path):
    first = run(tmp_path)
    (path,) = tmp_path.glob("baselines/*.json")
    assert run(tmp_path) == first
    content = json.loads(path.read_text())
    content["metrics"]["noisy"]["psnr"]["value"] = 123.0
    path.write_text(json.dumps(content))
    assert run(tmp_path).metrics["noisy"]["psnr"].value == 123.0
    assert list(tmp_path.glob("baselines/*.json")) == [path]


def test_other_images_and_another_sigma_have_files_of_their_own(tmp_path, without_skimage):
    run(tmp_path)
    run(tmp_path, num_test=19)
    run(tmp_path, sigma=0.4)
    # The same noisy images, said to have another sigma.
    baselines.baselines(*images("train", 8), *images("test", 20), 0.6, tmp_path)
    assert len(list(tmp_path.glob("baselines/*.json"))) == 4


@pytest.mark.parametrize("damage", ["half", "empty", "list", "other", "no number", "no filter", "binary"])
def test_a_damaged_or_foreign_file_is_computed_anew(tmp_path, damage, without_skimage):
    first = run(tmp_path)
    (path,) = tmp_path.glob("baselines/*.json")
    whole = path.read_text()
    content = json.loads(whole)
    content["metrics"]["noisy"]["psnr"]["value"] = 123.0
    if damage == "other":
        content["digest"] = "0" * 32
    elif damage == "no number":
        content["metrics"]["gaussian_filter"]["mse"]["value"] = None
    elif damage == "no filter":
        del content["metrics"]["median_filter"]
    damaged = {"half": whole[: len(whole) // 2], "empty": "", "list": "[]"}.get(damage, json.dumps(content))
    path.write_bytes(b"\xff\xfe\x00" if damage == "binary" else damaged.encode())
    assert run(tmp_path) == first
    assert path.read_text() == whole


def test_a_folder_that_cannot_be_written_costs_no_numbers(tmp_path, without_skimage):
    expected = run(tmp_path / "writable")
    (tmp_path / "file").touch()
    assert run(tmp_path / "file") == expected


def test_without_scikit_image_non_local_means_are_missing_and_the_rest_is_there(tmp_path, without_skimage):
    with pytest.raises(NotApplicable) as raised:
        restore("nl_means", images("test", 1)[0], SETTINGS["nl_means"])
    assert str(raised.value) == MISSING
    found = run(tmp_path)
    assert found.not_applicable == {"nl_means": MISSING}
    assert found.metrics.keys() == {"noisy", "gaussian_filter", "median_filter"}
    assert run(tmp_path) == found


def test_what_was_missing_is_computed_once_scikit_image_is_there(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "skimage", None)
        patch.setitem(sys.modules, "skimage.restoration", None)
        assert run(tmp_path).not_applicable
    found = run(tmp_path)
    assert not found.not_applicable and "nl_means" in found.metrics
