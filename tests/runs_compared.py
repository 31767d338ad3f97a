"""Are two runs the same to the last bit?"""

import torch

from vaegan.runs import RunFolder
from vaegan.sealed import load_checkpoint


def state(folder: RunFolder) -> dict:
    return load_checkpoint(folder.last)


def assert_bitwise_equal(a: object, b: object, where: str = "") -> None:
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_bitwise_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for index, (first, second) in enumerate(zip(a, b, strict=True)):
            assert_bitwise_equal(first, second, f"{where}[{index}]")
    else:
        assert a == b or (a != a and b != b), where


def assert_same_training(a: RunFolder, b: RunFolder) -> None:
    """Weights, BatchNorm statistics, both Adam states and schedules, and every digit of the metrics."""
    first, second = state(a), state(b)
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_bitwise_equal(first[part], second[part], part)
    assert a.metrics.read_bytes() == b.metrics.read_bytes()
