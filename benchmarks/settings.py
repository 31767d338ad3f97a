"""What one comparison trains, and how many multiplications and parameters that is."""

from dataclasses import dataclass

BATCH_SIZE = 128
NUM_PIXELS, DISCRIMINATOR_HIDDEN = 784, 256
STEPS_AN_EPOCH = 60_000 // BATCH_SIZE


@dataclass(frozen=True)
class Setting:
    """The paper's networks with BatchNorm, reconstructions as fakes, batches of 128 MNIST images."""

    latent_dim: int
    precision: str = "32-true"
    threads: int = 2

    @property
    def hidden_dim(self) -> int:
        return self.latent_dim**2

    @property
    def learning_rate(self) -> float:
        """The paper's 1e-3; a step of Adam moves a sum over 250,000 hidden units so far that d = 500 needs less."""
        return 1e-3 if self.latent_dim <= 100 else 1e-6

    @property
    def options(self) -> list[str]:
        """The same for `python -m vaegan.train`."""
        return [
            f"model.latent_dim={self.latent_dim}",
            "model.batch_norm=true",
            "objective.fakes=reconstruction",
            f"data.batch_size={BATCH_SIZE}",
            f"optimizer.vae.lr={self.learning_rate}",
            f"optimizer.discriminator.lr={self.learning_rate}",
            f"trainer.precision={self.precision}",
            "trainer.accelerator=cpu",
        ]

    @property
    def num_parameters(self) -> int:
        d, h, k = self.latent_dim, self.hidden_dim, DISCRIMINATOR_HIDDEN
        encoder = NUM_PIXELS * h + h + 2 * h + h * 2 * d + 2 * d
        decoder = d * h + h + 2 * h + h * NUM_PIXELS + NUM_PIXELS
        discriminator = NUM_PIXELS * k + k + 2 * k + k + 1
        return encoder + decoder + discriminator

    @property
    def operations(self) -> float:
        """Floating-point operations of a step's matrix products, the gradients that nobody needs left out.

        Encoder and decoder: forward, gradient of the weights, gradient of the input (not of the image's). Discriminator:
        forward on both batches, its weights' gradient on both, and the fakes' gradient for the decoder.
        """
        d, h, k = self.latent_dim, self.hidden_dim, DISCRIMINATOR_HIDDEN
        multiplications = 2 * NUM_PIXELS * h + 3 * h * 2 * d  # encoder
        multiplications += 3 * d * h + 3 * h * NUM_PIXELS  # decoder
        multiplications += 2 * 2 * NUM_PIXELS * k + NUM_PIXELS * k + (2 * 3 + 1) * k  # discriminator
        return 2 * BATCH_SIZE * multiplications
