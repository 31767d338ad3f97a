"""The VAE-GAN: encoder, decoder and discriminator, and how a code becomes an image. Draws nothing itself."""

import torch
from torch import Tensor, nn

from vaegan import config
from vaegan.networks import Decoder, Discriminator, Encoder


class VAEGAN(nn.Module):
    """The networks that an objective needs; `encoder` and `discriminator` are None where it has none.

    Images are flat, (B, 784), with values in [0, 1]; codes are (B, d).
    """

    def __init__(self, model: config.Model, objective: config.Objective):
        super().__init__()
        size = (model.latent_dim, model.hidden_dim, model.batch_norm)
        has_encoder = "reconstruction" in objective.weights
        has_adversary = "adversarial" in objective.weights
        self.latent_dim = model.latent_dim
        self.encoder = Encoder(*size, model.batch_norm_output, model.dropout) if has_encoder else None
        self.decoder = Decoder(*size, model.dropout)
        self.discriminator = Discriminator(model.batch_norm, model.dropout) if has_adversary else None

    def vae_parameters(self) -> list[nn.Parameter]:
        """What the first optimizer moves: encoder and decoder."""
        return [p for network in (self.encoder, self.decoder) if network is not None for p in network.parameters()]

    def discriminator_parameters(self) -> list[nn.Parameter]:
        """What the second optimizer moves; empty without a discriminator."""
        return [] if self.discriminator is None else list(self.discriminator.parameters())

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, 784), clean or noisy -> mu, logvar of q(z|x), each (B, d)."""
        if self.encoder is None:
            raise ValueError("this model was trained as a GAN and has no encoder")
        return self.encoder(x)

    def reparameterize(self, mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
        """z = mu + eps exp(logvar / 2), eps ~ N(0, I) (B, d). At evaluation the paper takes z = mu instead (3.3)."""
        return torch.addcmul(mu, eps, torch.exp(0.5 * logvar))

    def decode(self, z: Tensor) -> Tensor:
        """z (B, d) -> logits (B, 784); `sigmoid` of them is the image."""
        return self.decoder(z)

    def discriminate(self, x: Tensor) -> Tensor:
        """x (B, 784) -> logits (B, 1) of "real"."""
        if self.discriminator is None:
            raise ValueError("this model was trained without a discriminator")
        return self.discriminator(x)

    def reconstruct(self, x: Tensor) -> Tensor:
        """x (B, 784), clean or noisy -> its reconstruction (B, 784) in [0, 1], from z = mu."""
        mu, _ = self.encode(x)
        return self.generate(mu)

    def generate(self, z: Tensor) -> Tensor:
        """Codes z (B, d), such as prior draws from N(0, I) -> images (B, 784) in [0, 1]."""
        return self.decode(z).float().sigmoid()


def num_parameters(model: config.Model, objective: config.Objective) -> dict[str, int]:
    """Parameters of each network, counted on torch's meta device: nothing is allocated, so d = 500 costs nothing."""
    with torch.device("meta"):
        vaegan = VAEGAN(model, objective)
    return {name: sum(p.numel() for p in network.parameters()) for name, network in vaegan.named_children()}
