"""Which device a run computes on."""

import torch

from vaegan.errors import UserError


def find_device(accelerator: str, option: str = "trainer.accelerator") -> torch.device:
    """The device that Lightning will choose for `accelerator`; UserError, which names the `option`, if there is none."""
    there = {"cpu": True, "gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if accelerator == "auto":
        accelerator = next(name for name in ("gpu", "mps", "cpu") if there[name])
    if not there[accelerator]:
        has = ", ".join(name for name, available in there.items() if available)
        raise UserError(f"{option}={accelerator} is not there on this machine; it has: {has}.")
    return torch.device({"gpu": "cuda"}.get(accelerator, accelerator))


def describe_device(device: torch.device) -> str:
    """A device in words: the threads of a CPU, the name of a GPU."""
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu, {threads} thread{'s' * (threads > 1)}"
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
