"""Does the model repeat its training images?"""

import torch
from torch import Tensor

_ROWS = 500  # of a distance matrix held at once


def nearest(images: Tensor, training: Tensor) -> tuple[Tensor, Tensor]:
    """Euclidean distance of each image (N, 784) to the nearest training image (M, 784), and which one it is; (N,), (N,)."""
    squares = training.square().sum(dim=1)
    distances, indices = [], []
    for part in images.split(_ROWS):
        # |a - b|^2 = |a|^2 + |b|^2 - 2 ab; the first is the same for all b.
        smallest, index = (squares - 2 * part @ training.T).min(dim=1)
        distances.append((smallest + part.square().sum(dim=1)).clamp(min=0).sqrt())
        indices.append(index)
    return torch.cat(distances), torch.cat(indices)
