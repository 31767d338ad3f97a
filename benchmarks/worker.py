"""A contestant in a process of its own: `python -m benchmarks.worker NAME LATENT_DIM PRECISION THREADS [argument ...]`."""

import sys


def main() -> None:
    name, latent_dim, precision, threads, *arguments = sys.argv[1:]
    import torch

    from benchmarks.clock import Clock
    from benchmarks.contestants import CONTESTANTS
    from benchmarks.settings import Setting
    from vaegan.training.precision import set_matmul_precision

    torch.set_num_threads(int(threads))
    set_matmul_precision("auto", torch.device("cpu"))  # by the library that vaegan takes, for everybody
    setting = Setting(int(latent_dim), precision, int(threads))
    CONTESTANTS[name](setting, Clock(), *[int(a) if a.isdigit() else a for a in arguments])


if __name__ == "__main__":
    main()
