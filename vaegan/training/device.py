"""Which device a run computes on."""

import os

import torch

from vaegan.errors import UserError


def find_device(accelerator: str, option: str = "trainer.accelerator", number: int = 1) -> torch.device:
    """The device that Lightning will choose for `accelerator`, of which there must be `number`.

    Raises:
        UserError: there is none, or fewer; the message names the `option`.
    """
    there = {"cpu": True, "gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if accelerator == "auto":
        accelerator = next(name for name in ("gpu", "mps", "cpu") if there[name])
    if not there[accelerator]:
        has = ", ".join(name for name, available in there.items() if available)
        raise UserError(f"{option}={accelerator} is not there on this machine; it has: {has}.")
    there_are = {"cpu": max(2, os.cpu_count() or 1), "gpu": torch.cuda.device_count(), "mps": 1}[accelerator]
    if there_are < number:
        raise UserError(f"trainer.devices is {number}, but this machine has {there_are} of accelerator {accelerator}.")
    return torch.device({"gpu": "cuda"}.get(accelerator, accelerator))


def describe_device(device: torch.device) -> str:
    """A device in words: the threads of a CPU, the name of a GPU."""
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu, {threads} thread{'s' * (threads > 1)}"
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
