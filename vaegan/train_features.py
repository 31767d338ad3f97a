"""`python -m vaegan.train_features`: train the classifier whose features judge generated images.

python -m vaegan.train_features mnist --out vaegan/evaluation/weights/mnist.safetensors

It made the network that is shipped. Others are trained by evaluate when they are needed, so nobody has to run it.
"""

import argparse
import sys
from pathlib import Path

from vaegan.config import NUM_TRAIN_IMAGES
from vaegan.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m vaegan.train_features",
        description="Train the classifier whose features judge generated images, and write its weights.",
    )
    parser.add_argument("data", help=f"data set: {', '.join(NUM_TRAIN_IMAGES)}")
    parser.add_argument("--out", type=Path, help="file to write (default: feature_network_DATA.safetensors)")
    parser.add_argument("--root", type=Path, help="folder of the data files (default: $VAEGAN_DATA, else a cache)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    out = arguments.out or Path(f"feature_network_{arguments.data}.safetensors")
    try:
        if arguments.data not in NUM_TRAIN_IMAGES:
            raise UserError(f"there is no data set {arguments.data!r}; choose one of {', '.join(NUM_TRAIN_IMAGES)}.")
        if not out.parent.is_dir():
            raise UserError(f"{out.parent} is not a folder; choose another --out.")
        if out.is_dir():
            raise UserError(f"{out} is a folder; choose another --out.")
        train_features(arguments.data, arguments.root, arguments.seed, out)
    except UserError as error:
        print(f"vaegan: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"vaegan: {error.filename} cannot be written ({error.strerror}); choose another --out.", file=sys.stderr)
        sys.exit(2)


def train_features(data_name: str, root: Path | None, seed: int, out: Path) -> None:
    """Train, write the weights to `out`, and say how good they are.

    Raises:
        UserError: the data cannot be had.
    """
    import hashlib

    from vaegan.evaluation import features
    from vaegan.files import write_whole

    network, share = features.train_with_progress(data_name, root, seed)
    content = features.serialise(network)
    write_whole(out, content)
    print(f"accuracy    {share:.2%} of the test images of {data_name}")
    print(f"parameters  {sum(p.numel() for p in network.parameters()):,}")
    print(f"weights     {out}, {len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
