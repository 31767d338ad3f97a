"""In which precision matrix products are computed, decided by measuring and by the CPU's maker."""

import math
import platform
import time
from dataclasses import replace
from pathlib import Path

import torch

from vaegan.runs import Plan

# float32's own rounding of a product this long gives 3 to 7e-7; bf16 gives 2e-3.
_FLOAT32_ERROR = 5e-6
_EMULATED = 20  # times as slow as another dtype: no rounding and no other work on the machine explains that


def relative_error(size: int = 256) -> float:
    """Largest error of one float32 product (size, size) at the current setting, relative to the largest entry."""
    a, b = torch.randn(2, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = a @ b
    return ((a.float() @ b.float() - exact).abs().max() / exact.abs().max()).item()


def set_matmul_precision(choice: str, device: torch.device) -> str:
    """Set torch's float32 matmul precision for this process; returns what was set and why, to be shown.

    "highest" has torch hand products on a CPU to MKL, if it was built with it; "medium" to oneDNN, which may round to bf16.
    On an Intel Xeon MKL was the faster one, on an AMD EPYC oneDNN (`python -m benchmarks techniques` compares them). So "auto"
    is "highest" on Intel's CPUs, "medium" on others exactly if float32's accuracy is kept there, and "highest" on other
    devices. They do not round alike; the choice is not by timing, so that a run goes on with the products that it began with.
    """
    if choice != "auto":
        torch.set_float32_matmul_precision(choice)
        return choice
    if device.type != "cpu":
        torch.set_float32_matmul_precision("highest")
        return "highest"
    if torch.backends.mkl.is_available() and _is_by_intel():
        torch.set_float32_matmul_precision("highest")
        return "highest (by MKL: the CPU is Intel's)"
    torch.set_float32_matmul_precision("medium")
    error = relative_error()
    if error > _FLOAT32_ERROR:
        torch.set_float32_matmul_precision("highest")
        return f"highest (medium would round: relative error {error:.0e})"
    return f"medium (float32 accuracy kept: relative error {error:.0e})"


def _is_by_intel(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether Intel made this machine's CPU; Linux tells in a file, Windows by its processor's name."""
    try:
        return "GenuineIntel" in cpuinfo.read_text(errors="replace")
    except OSError:
        return "GenuineIntel" in platform.processor()


def choose_precision(choice: str, device: torch.device) -> str:
    """Lightning's precision: `choice`, or for "auto" bf16-mixed if bf16 products are a third faster or more on `device`.

    Call it after set_matmul_precision. (A CPU without bf16 instructions emulates them, tens to hundreds of times slower.)
    """
    if choice != "auto":
        return choice
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if device.type != "cpu":
        return "32-true"
    seconds = product_seconds(torch.bfloat16, torch.float32)
    return "bf16-mixed" if seconds[torch.bfloat16] * 4 / 3 < seconds[torch.float32] else "32-true"


def emulated_bf16() -> float | None:
    """How many times as long as a float32 product a bf16 product takes, on a CPU that must emulate it; None on others."""
    seconds = product_seconds(torch.bfloat16, torch.float32, size=256)
    times = seconds[torch.bfloat16] / seconds[torch.float32]
    return times if times > _EMULATED else None


def settle(plan: Plan, device: torch.device) -> tuple[Plan, str]:
    """The plan with what precision "auto" means here and now, and how float32 products are computed, in words.

    It is kept with the run, so that it goes on in the same precision; and the processes of a run must not each measure.
    """
    matmul = set_matmul_precision(plan.config.train.matmul, device)
    trainer = plan.config.trainer
    trainer = replace(trainer, precision=choose_precision(trainer.precision, device))
    return replace(plan, config=replace(plan.config, trainer=trainer)), matmul


def product_seconds(*dtypes: torch.dtype, size: int = 512, repeats: int = 40) -> dict[torch.dtype, float]:
    """The shortest time that one product (size, size) of each dtype took on the CPU.

    By turns and often, so that other work on the machine meets all of them and misses each of them once. Where one of them
    is so slow that it must be emulated, three turns tell.
    """
    operands = {dtype: torch.ones(2, size, size, dtype=dtype) for dtype in dtypes}
    shortest = dict.fromkeys(dtypes, math.inf)
    for turn in range(repeats):
        for dtype, (a, b) in operands.items():
            start = time.perf_counter()
            a @ b
            shortest[dtype] = min(shortest[dtype], time.perf_counter() - start)
        if turn > 1 and max(shortest.values()) > _EMULATED * min(shortest.values()):
            break
    return shortest
