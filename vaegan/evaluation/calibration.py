"""Does the discriminator know what it says?"""

from torch import Tensor

from vaegan.evaluation.result import Metric

BINS = 15


def calibration_error(probabilities: Tensor, is_real: Tensor) -> Metric:
    """Mean distance between stated probability of "real" (N,) and observed share, over 15 bins weighted by size (ECE)."""
    from torchmetrics.functional.classification import binary_calibration_error

    value = binary_calibration_error(probabilities.float(), is_real.long(), n_bins=BINS, norm="l1")
    return Metric(value.item(), "probability", len(probabilities))
