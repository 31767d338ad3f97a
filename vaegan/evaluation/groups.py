"""The groups of metrics: from a subject to named numbers. What each number is stands beside its function in the other files."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vaegan import config, losses, randomness
from vaegan.data.batches import EVALUATION_BATCH, pixels
from vaegan.evaluation import (
    anomaly,
    baselines,
    calibration,
    generation,
    latent,
    likelihood,
    restoration,
)
from vaegan.evaluation.result import Metric, NotApplicable, mean, proportion
from vaegan.evaluation.subject import Subject, featurise, other_images

_ROWS = 1000  # codes decoded at once: their logits fit into a CPU's cache
_ROWS_HIDDEN = 2**24  # but no more hidden units than this
_LIKELIHOOD_WORK = 10**7  # images times hidden units that k = 500 samples are drawn for in a minute or two
_NUM_MMD = 5000  # its time grows with the square
NATS = "nats per image"


@dataclass
class Findings:
    """What a group has found: metrics by name, why some are not there, and values that a picture or a reader may want."""

    metrics: dict[str, Metric] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, list[float]] = field(default_factory=dict)


def loss(subject: Subject) -> Findings:
    """The paper's test loss (z = mu), and the sampled bound (z ~ q(z|x)), on the images and noise of the run."""
    subject.need_encoder()
    found = Findings()
    has_kl = subject.kind != "autoencoder"
    values: dict[str, list[Tensor]] = {"reconstruction": []}
    for number, (x, x_noisy) in enumerate(subject.as_trained("test")):
        mu, logvar = subject.model.encode(x_noisy)
        values["reconstruction"].append(losses.reconstruction_per_image(subject.model.decode(mu), x))
        if has_kl:
            values.setdefault("kl", []).append(losses.kl_per_code(mu, logvar).sum(dim=1))
            eps = randomness.normal(mu.shape, subject.device, subject.options.seed, "evaluated eps", number)
            logits = subject.model.decode(subject.model.reparameterize(mu, logvar, eps))
            values.setdefault("sampled_reconstruction", []).append(losses.reconstruction_per_image(logits, x))
    per_image = {name: torch.cat(parts) for name, parts in values.items()}
    per_image["loss"] = per_image["reconstruction"] + per_image.get("kl", 0)
    if has_kl:
        per_image["sampled_loss"] = per_image["sampled_reconstruction"] + per_image["kl"]
    else:
        found.not_applicable |= dict.fromkeys(
            ("kl", "sampled_loss", "sampled_reconstruction"), "objective=autoencoder has no q(z|x) to draw from"
        )
    found.metrics = {name: mean(value, NATS) for name, value in per_image.items()}
    return found


def log_likelihood(subject: Subject) -> Findings:
    """Importance-sampled log p(x) of black-and-white digits; the codes are proposed by the encoder for the grey ones."""
    subject.need_encoder()
    if subject.kind == "autoencoder":
        raise NotApplicable("objective=autoencoder has no prior over codes, so no p(x)")
    options = subject.options.likelihood
    hidden = subject.config.model.hidden_dim
    num_images = options.num_images or max(100, _LIKELIHOOD_WORK // hidden)
    rows = max(1, min(_ROWS, _ROWS_HIDDEN // hidden))
    images = subject.images("test", num_images)
    seed = 0 if options.binarisation == "fixed" else subject.options.seed
    log_px, effective = [], []
    for number, x in enumerate(images.split(EVALUATION_BATCH)):
        draws = randomness.generator(subject.device, seed, "binarisation", number)
        binary = likelihood.binarise(x, torch.rand(x.shape, device=subject.device, generator=draws))
        mu, logvar = subject.model.encode(x)
        # Whole blocks of images while memory allows, else a few at once.
        block = min(len(x), rows)
        for start in range(0, len(x), block):
            part = slice(start, start + block)
            target = binary[part]
            log_w = likelihood.importance_sample(
                mu[part].float(),
                logvar[part].float(),
                lambda z, target=target: likelihood.bernoulli_log_likelihood(
                    subject.model.decode(z.flatten(0, 1)).float().unflatten(0, z.shape[:2]), target
                ),
                options.num_samples,
                subject.options.seed,
                number,
                start,
                rows=rows,
            )
            log_px.append(likelihood.log_mean_exp(log_w))
            effective.append(likelihood.effective_samples(log_w))
            subject.tick((number * EVALUATION_BATCH + start + len(target)) / len(images))
    suffix = f"{options.binarisation}_k{options.num_samples}"
    return Findings(
        {
            f"log_likelihood_{suffix}": mean(torch.cat(log_px), NATS),
            f"effective_samples_{suffix}": mean(torch.cat(effective), f"of {options.num_samples} samples"),
        }
    )


def reconstruction(subject: Subject) -> Findings:
    """Restoration of test images from noise seen and unseen in training, and what filters do with the same images."""
    subject.need_encoder()
    found, options = Findings(), subject.options.reconstruction
    clean = subject.images("test")
    sigmas = sorted({*options.sigmas, subject.config.data.noise_std})
    for number, sigma in enumerate(sigmas):
        noisy = subject.noisy("test", sigma)
        restored = {"": restoration.restoration(clean, subject.reconstruct(noisy))}
        if sigma > 0 and options.filters:
            restored |= _filters(subject, sigma, noisy, found)
        for name, metrics in restored.items():
            prefix = f"sigma_{sigma:g}/{name}{'/' * bool(name)}"
            found.metrics |= {f"{prefix}{key}": metric for key, metric in metrics.items()}
        subject.tick((number + 1) / len(sigmas))
    return found


def samples(subject: Subject) -> Findings:
    """Generated images beside as many real ones: from the prior, from a mixture fitted on the codes, and training images."""
    found, real, n = Findings(), subject.real, subject.num_samples
    seed = subject.options.seed

    def keep(name: str, metrics: dict[str, Metric], logits: Tensor) -> None:
        found.metrics |= {f"{name}/{key}": metric for key, metric in metrics.items()}
        found.arrays[f"{name}/class_shares"] = generation.class_shares(logits).tolist()

    def compare(name: str, images: Tensor) -> None:
        generated = featurise(real.network, images)
        keep(name, generation.generation_metrics(real.features("test", n), generated, seed), generated[1])

    keep("real", real.floor(n, seed), real.features("train", n)[1])
    subject.tick(0.4)
    compare("prior", subject.prior_samples)
    subject.tick(0.7)
    if subject.model.encoder is None:
        found.not_applicable["mixture"] = "objective=gan has no codes to fit a mixture on"
    else:
        compare("mixture", subject.mixture_samples)
    return found


def latent_space(subject: Subject) -> Findings:
    """Use and worth of the codes of clean images, z = mu unless said otherwise; of the classes it was trained on."""
    subject.need_encoder()
    found, seed = Findings(), subject.options.seed
    known = subject.labels("test") != (-1 if (held_out := subject.config.data.held_out_class) is None else held_out)
    mu, logvar = (codes[known.to(subject.device)] for codes in subject.codes("test"))
    train_mu, _ = subject.codes("train")
    labels, train_labels = subject.labels("test")[known], subject.labels("train")
    found.arrays["variance_per_dimension"] = latent.variances(mu).tolist()
    found.metrics["active_units"] = latent.active_units(mu)
    n = min(_NUM_MMD, len(mu))
    prior, other = subject.prior_codes(2 * n).split(n)
    if subject.kind == "autoencoder":
        found.not_applicable["kl_per_dimension"] = "objective=autoencoder has no q(z|x)"
        z = mu
    else:
        found.arrays["kl_per_dimension"] = losses.kl_per_dimension(mu, logvar).tolist()
        z = subject.model.reparameterize(mu, logvar, randomness.normal(mu.shape, subject.device, seed, "aggregate eps"))
    found.metrics["mmd"] = Metric(latent.mmd(z[:n], prior), "squared kernel distance", n)
    found.metrics["mmd_floor"] = Metric(latent.mmd(other, prior), "squared kernel distance", n)
    subject.tick(0.2)
    if min(len(labels.unique()), len(train_labels.unique())) < 2:
        probes = ("probe_accuracy_100_labels", "probe_accuracy_1000_labels", "probe_accuracy")
        found.not_applicable |= dict.fromkeys(
            ("knn_accuracy", "silhouette", *probes), "the images are all labelled as one class"
        )
        return found
    found.metrics["knn_accuracy"] = latent.knn_accuracy(train_mu, train_labels, mu, labels)
    found.metrics["silhouette"] = latent.silhouette(mu, labels)
    subject.tick(0.5)
    for num_labels in (100, 1000):
        found.metrics[f"probe_accuracy_{num_labels}_labels"] = latent.few_label_accuracy(
            train_mu, train_labels, mu, labels, num_labels, seed
        )
    found.metrics["probe_accuracy"] = latent.probe_accuracy(train_mu, train_labels, mu, labels)
    return found


def overfitting(subject: Subject) -> Findings:
    """Loss on training images beside test images, and how near samples come to training images."""
    found = Findings()
    if subject.model.encoder is None:
        found.not_applicable |= dict.fromkeys(("train_loss", "test_loss", "gap"), "objective=gan has no encoder")
    else:
        per_split = {split: _losses(subject, split) for split in ("train", "test")}
        found.metrics |= {f"{split}_loss": mean(values, NATS) for split, values in per_split.items()}
        train, test = found.metrics["train_loss"], found.metrics["test_loss"]
        error = math.hypot(train.standard_error, test.standard_error)
        found.metrics["gap"] = Metric(test.value - train.value, NATS, test.n, error)
        rows = subject.folder.read_metrics()
        found.arrays["gap_per_epoch"] = [
            row["test/loss"] - row["train/reconstruction"] - row.get("train/kl", 0.0) for row in rows
        ]
    subject.tick(0.3)
    generated, _ = subject.nearest_to_samples
    n = len(generated)
    subject.tick(0.7)
    unseen = subject.real.nearest_to_test(n)
    found.metrics["nearest_distance"] = mean(generated, "pixel distance")
    found.metrics["nearest_distance_test"] = mean(unseen, "pixel distance")
    ratio = generated.mean().item() / unseen.mean().item()
    parts = (found.metrics["nearest_distance"], found.metrics["nearest_distance_test"])
    error = ratio * math.hypot(*(part.standard_error / part.value for part in parts))
    found.metrics["nearest_distance_ratio"] = Metric(ratio, "of a test image's", n, error)
    found.metrics["copies"] = proportion(generated < torch.quantile(unseen, 0.01))
    return found


def anomalies(subject: Subject) -> Findings:
    """AUROC of four scores for images of other kinds against the test images of the run's own."""
    found = Findings()
    data = subject.config.data
    own, labels = subject.images("test"), subject.labels("test")
    others: dict[str, Tensor] = {}
    if data.held_out_class is None:
        found.not_applicable["held_out_class"] = "no class was held out; train with data.held_out_class=N"
    else:
        held_out = (labels == data.held_out_class).to(subject.device)
        others["held_out_class"], own = own[held_out], own[~held_out]
    others["noise"] = anomaly.noise_images(
        own, randomness.normal(own.shape, subject.device, subject.options.seed, "noise images")
    )
    for name in ("mnist", "fashion_mnist", "kmnist"):
        if name != data.name:
            try:
                others[name] = pixels(other_images(name, subject.real.root).to(subject.device))
            except NotApplicable as reason:
                found.not_applicable[name] = str(reason)
    normal, reasons = _anomaly_scores(subject, own)
    found.not_applicable |= reasons
    for number, (name, images) in enumerate(others.items()):
        scores, _ = _anomaly_scores(subject, images)
        found.metrics |= {f"{name}/{key}": anomaly.auroc(normal[key], score) for key, score in scores.items()}
        subject.tick((number + 1) / len(others))
    return found


def discriminator(subject: Subject) -> Findings:
    """What the discriminator makes of test images and of the kinds of fakes it was trained on."""
    if subject.model.discriminator is None:
        raise NotApplicable(f"objective={subject.kind} has no discriminator")
    found = Findings()
    probabilities = {"real": discriminated(subject, subject.images("test"))}
    fakes = subject.config.objective.fakes
    if fakes in ("prior", "both"):
        probabilities["prior"] = discriminated(subject, subject.prior_samples)
    if fakes in ("reconstruction", "both"):
        restored = torch.cat([subject.model.reconstruct(x_noisy) for _, x_noisy in subject.as_trained("test")])
        probabilities["reconstruction"] = discriminated(subject, restored)
    for name, values in probabilities.items():
        found.metrics[f"accuracy_{name}"] = proportion(values > 0.5 if name == "real" else values < 0.5)
        found.arrays[name] = torch.histc(values, 50, 0, 1).tolist()
    fake = torch.cat([values for name, values in probabilities.items() if name != "real"])
    n = min(len(fake), len(probabilities["real"]))  # as many of each, as in training
    mixed = torch.cat([probabilities["real"][:n], fake[torch.linspace(0, len(fake) - 1, n).long()]])
    is_real = torch.arange(2 * n, device=mixed.device) < n
    found.metrics["calibration_error"] = calibration.calibration_error(mixed, is_real)
    return found


# name, what computes it, its usual share of the time
GROUPS: dict[str, tuple[Callable[[Subject], Findings], float]] = {
    "loss": (loss, 2),
    "likelihood": (log_likelihood, 40),
    "reconstruction": (reconstruction, 20),
    "generation": (samples, 12),
    "latent": (latent_space, 15),
    "overfitting": (overfitting, 5),
    "anomaly": (anomalies, 3),
    "discriminator": (discriminator, 1),
}


def group_options(name: str, subject: Subject) -> dict:
    """What the numbers of a group depend on besides the run."""
    options = subject.options
    own = {"likelihood": options.likelihood, "reconstruction": options.reconstruction}
    own |= dict.fromkeys(("generation", "overfitting", "discriminator"), options.generation)
    chosen = config.plain(own[name]) if name in own else {}
    return {"seed": options.seed, "weights": options.weights} | chosen


def discriminated(subject: Subject, images: Tensor) -> Tensor:
    """Probability of "real" of images (N, 784), (N,)."""
    parts = [subject.model.discriminate(part) for part in images.split(EVALUATION_BATCH)]
    return torch.cat(parts).float().squeeze(1).sigmoid()


def _losses(subject: Subject, split: str) -> Tensor:
    """reconstruction + KL, z = mu, of as many images of a split as the test set has, (N,)."""
    values = []
    for x, x_noisy in subject.as_trained(split, len(subject.labels("test"))):
        mu, logvar = subject.model.encode(x_noisy)
        value = losses.reconstruction_per_image(subject.model.decode(mu), x)
        values.append(value if subject.kind == "autoencoder" else value + losses.kl_per_code(mu, logvar).sum(dim=1))
    return torch.cat(values)


def _filters(subject: Subject, sigma: float, noisy: Tensor, found: Findings) -> dict[str, dict[str, Metric]]:
    """What filters make of the same noisy test images; they do not depend on the model, so it is kept on disk."""
    n = baselines.NUM_TRAINING
    result = baselines.baselines(
        subject.noisy("train", sigma, n),
        subject.images("train", n),
        noisy,
        subject.images("test"),
        sigma,
        subject.real.root,
    )
    found.not_applicable |= {f"sigma_{sigma:g}/{name}": reason for name, reason in result.not_applicable.items()}
    return result.metrics


def _anomaly_scores(subject: Subject, images: Tensor) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Scores (N,) that should be higher for images of another kind, and why some are missing."""
    scores: dict[str, list[Tensor]] = {}
    missing = {}
    for x in images.split(EVALUATION_BATCH):
        if subject.model.encoder is not None:
            mu, logvar = subject.model.encode(x)
            error = losses.reconstruction_per_image(subject.model.decode(mu), x)
            scores.setdefault("reconstruction", []).append(error)
            if subject.kind != "autoencoder":
                kl = losses.kl_per_code(mu, logvar).sum(dim=1)
                scores.setdefault("kl", []).append(kl)
                scores.setdefault("loss", []).append(error + kl)
        if subject.model.discriminator is not None:
            scores.setdefault("discriminator", []).append(-subject.model.discriminate(x).float().squeeze(1))
    if subject.model.encoder is None:
        missing |= dict.fromkeys(("reconstruction", "kl", "loss"), "objective=gan has no encoder")
    elif subject.kind == "autoencoder":
        missing |= dict.fromkeys(("kl", "loss"), "objective=autoencoder has no KL")
    if subject.model.discriminator is None:
        missing["discriminator"] = f"objective={subject.kind} has no discriminator"
    return {name: torch.cat(parts) for name, parts in scores.items()}, missing
