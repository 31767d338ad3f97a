"""The paper's three networks (3.3, 3.5, Figure 7): two fully connected layers each, weights as torch draws them.

Linear(in, hidden) - [BatchNorm] - ReLU - [Dropout] - Linear(hidden, out). They return logits, not images or probabilities.
"""

from torch import Tensor, nn

NUM_PIXELS = 784  # 28 x 28, flattened
DISCRIMINATOR_HIDDEN = 256


def _two_layers(num_in: int, hidden_dim: int, num_out: int, batch_norm: bool, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Linear(num_in, hidden_dim)]
    if batch_norm:
        layers.append(nn.BatchNorm1d(hidden_dim))
    layers.append(nn.ReLU(inplace=True))  # its input is not needed again, and large
    if dropout > 0:
        layers.append(nn.Dropout(dropout))
    layers.append(nn.Linear(hidden_dim, num_out))
    return layers


class Encoder(nn.Sequential):
    """x (B, 784) -> mu, logvar, each (B, d)."""

    def __init__(
        self, latent_dim: int, hidden_dim: int, batch_norm: bool, batch_norm_output: bool = False, dropout: float = 0.0
    ):
        layers = _two_layers(NUM_PIXELS, hidden_dim, 2 * latent_dim, batch_norm, dropout)
        if batch_norm_output:
            layers.append(nn.BatchNorm1d(2 * latent_dim))
        super().__init__(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = super().forward(x).chunk(2, dim=1)
        return mu, logvar


class Decoder(nn.Sequential):
    """z (B, d) -> logits (B, 784) of the pixels. It is the GAN's generator."""

    def __init__(self, latent_dim: int, hidden_dim: int, batch_norm: bool, dropout: float = 0.0):
        super().__init__(*_two_layers(latent_dim, hidden_dim, NUM_PIXELS, batch_norm, dropout))


class Discriminator(nn.Sequential):
    """x (B, 784) in [0, 1] -> logits (B, 1) of "x is a real image"."""

    def __init__(self, batch_norm: bool, dropout: float = 0.0):
        super().__init__(*_two_layers(NUM_PIXELS, DISCRIMINATOR_HIDDEN, 1, batch_norm, dropout))
