"""The terms of the paper's objective, each a pure function of tensors.

Every term is in nats per image: summed over pixels or latent dimensions, averaged over the batch. All work on logits, and
in float32 whatever the precision of the products that made their arguments. Section numbers are the paper's
(S. Mandalapu, "VAE-GAN: Identifying VAE-GAN Model for Latent Representation Learning").
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def reconstruction(logits: Tensor, x: Tensor) -> Tensor:
    """L(x, x_hat) of 2.2: `reconstruction_per_image`, averaged over the batch."""
    return reconstruction_per_image(logits, x).mean()


def reconstruction_per_image(logits: Tensor, x: Tensor) -> Tensor:
    """Binary cross-entropy between pixels x (B, 784) in [0, 1] and sigmoid(logits) (B, 784), summed over pixels; (B,).

    Equals -(x log p + (1 - x) log(1 - p)) with p = sigmoid(logits), exact to rounding however large the logits. For binary x
    it is -log p(x|z); for grey x it is not a likelihood, and its least value is the pixels' entropy, not 0. Its gradient
    with respect to the logits is p - x; x gets none.
    """
    return _BinaryCrossEntropy.apply(logits.float(), x)


class _BinaryCrossEntropy(torch.autograd.Function):
    """softplus(logits) - x logits, summed over pixels, with softplus(l) = max(l, 0) - log max(p, 1 - p).

    p is needed for the gradient anyway; so, the term takes a third of the time that torch's softplus and its gradient take.
    """

    @staticmethod
    def forward(context: FunctionCtx, logits: Tensor, x: Tensor) -> Tensor:
        p = logits.sigmoid()
        context.save_for_backward(p, x)
        softplus = (p - 0.5).abs_().add_(0.5).log_().neg_().add_(logits.relu())
        return softplus.addcmul_(x, logits, value=-1).sum(dim=1)

    @staticmethod
    @once_differentiable
    def backward(context: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        p, x = context.saved_tensors
        return (p - x).mul_(gradient[:, None]), None


def kl_per_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """`kl_per_code`, averaged over the batch; (B, d), (B, d) -> (d,).

    Its sum over the dimensions is the second term of 2.2, KL(q(z|x) || N(0, I)).
    """
    return kl_per_code(mu, logvar).mean(dim=0)


def kl_per_code(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)) of each image and latent dimension; (B, d), (B, d) -> (B, d)."""
    mu, logvar = mu.float(), logvar.float()
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar)


def adversarial(logits_fake: Tensor) -> Tensor:
    """The generator's term of 2.3: BCE(D(fake), 1) = -log D(fake), with D = sigmoid(logits_fake), (B, 1).

    Of several kinds of fakes, (n B, 1), the mean is taken.
    The non-saturating form: its gradient does not vanish where the discriminator wins.
    """
    return F.softplus(-logits_fake.float()).mean()


def discriminator(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    """2.3.1: BCE(D(x), 1) + BCE(D(fake), 0); logits (B, 1), and (n B, 1) of n kinds of fakes.

    Of several kinds of fakes the mean is taken, so that their number changes no weight.
    """
    return F.softplus(-logits_real.float()).mean() + F.softplus(logits_fake.float()).mean()
