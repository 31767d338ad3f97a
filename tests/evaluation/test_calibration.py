import pytest
import torch

from vaegan.evaluation.calibration import calibration_error


def test_by_hand():
    # 10 images at 0.8 of which 8 are real: right. 10 at 0.9 of which none is: 0.9 off, for half of the images.
    probabilities = torch.tensor([0.8] * 10 + [0.9] * 10)
    is_real = torch.tensor([True] * 8 + [False] * 12)
    assert calibration_error(probabilities[:10], is_real[:10]).value == pytest.approx(0, abs=1e-6)
    assert calibration_error(probabilities, is_real).value == pytest.approx(0.45, abs=1e-6)
