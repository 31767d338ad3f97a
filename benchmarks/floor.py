"""(c) The machine's limit: the step's products at the best rate that was seen, and Adam's traffic at measured bandwidth."""

import time

import torch

from benchmarks.settings import Setting

_ADAM_BYTES = 28  # read weight, gradient and two moments, write weight and moments: seven float32 a parameter
_SIZE = 2048
_COPIED = 256 * 2**20


def product_rate(precision: str, seconds: float = 3.0) -> float:
    """The highest rate of products (2048, 2048), by either of torch's libraries, floating-point operations a second."""
    a, b = torch.rand(2, _SIZE, _SIZE, dtype=torch.float32 if precision == "32-true" else torch.bfloat16)
    found = []
    for choice in ("medium", "highest"):
        torch.set_float32_matmul_precision(choice)
        found.append(_shortest(lambda: a @ b, seconds))
    return 2 * _SIZE**3 / min(found)


def bandwidth(seconds: float = 3.0) -> float:
    """The highest rate of copying 256 MB, bytes read and written a second."""
    a, b = torch.rand(_COPIED // 4), torch.empty(_COPIED // 4)
    return 2 * _COPIED / _shortest(lambda: b.copy_(a), seconds)


def floor(setting: Setting, rate: float, bytes_a_second: float) -> float:
    """Seconds that a step of this setting cannot do without on a machine of these rates."""
    return setting.operations / rate + _ADAM_BYTES * setting.num_parameters / bytes_a_second


def _shortest(function: object, seconds: float) -> float:
    shortest, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        function()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest
