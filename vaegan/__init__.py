"""vaegan: does batch normalisation make a VAE-GAN, plain or denoising, learn better and faster?

`vaegan.load_run(folder)` gives the trained model of a run folder, ready for evaluation. Importing the package imports no
torch, so that every command answers `--help` and a mistyped option at once.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaegan.runs import load_run

__version__ = "0.2.0"
__all__ = ["__version__", "load_run"]


def __getattr__(name: str) -> Any:
    if name == "load_run":
        from vaegan.runs import load_run

        return load_run
    raise AttributeError(f"module 'vaegan' has no attribute {name!r}")
