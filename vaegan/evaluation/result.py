"""What a metric is: a number that says its unit, how many it was computed from, and how sure it is."""

import math
from dataclasses import dataclass

from torch import Tensor


class NotApplicable(Exception):
    """The metric cannot be computed for this model or on this machine; the message is the reason, a clause."""


@dataclass(frozen=True)
class Metric:
    """One number."""

    value: float
    unit: str
    n: int  # images, samples or labels it was computed from
    standard_error: float | None = None  # of an estimate, in the same unit; None where there is no honest one


def mean(values: Tensor, unit: str) -> Metric:
    """The mean of a value (n,) per image, and its standard error sd / sqrt(n), computed in float64."""
    values = values.detach().cpu().double()  # not every device has float64
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else None
    return Metric(values.mean().item(), unit, len(values), error)


def proportion(hits: Tensor, unit: str = "share") -> Metric:
    """The share of true values in `hits` (n,) bool, with the binomial standard error.

    The error is Agresti and Coull's, of two hits and two misses more: it is not 0 where all are hits, or none.
    """
    count, n = hits.sum().item(), len(hits)
    adjusted = (count + 2) / (n + 4)
    return Metric(count / n, unit, n, math.sqrt(adjusted * (1 - adjusted) / (n + 4)))
