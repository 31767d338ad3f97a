"""The groups of metrics on a real small run, against the same numbers put together from the model by hand."""

import pytest
import torch
from conftest import SMALL, make_plan
from sklearn.metrics import roc_auc_score

from vaegan import load_run, losses, randomness
from vaegan.data import sources
from vaegan.data.batches import pixels
from vaegan.evaluation import features, generation, groups, latent, likelihood, memorising
from vaegan.evaluation.calibration import calibration_error
from vaegan.evaluation.options import Generation, Likelihood, Options, Reconstruction
from vaegan.evaluation.subject import Subject
from vaegan.runs import RunFolder

HELD_OUT = 3


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """A VAE-GAN trained without one class, with noise that is not clipped."""
    from vaegan.train import train

    overrides = (
        "objective.fakes=both",
        f"data.held_out_class={HELD_OUT}",
        "data.noise_std=0.3",
        "data.noise_clip=false",
    )
    folder = tmp_path_factory.mktemp("groups") / "run"
    train(make_plan(folder, *SMALL, "trainer.max_epochs=5", "logger.tensorboard=false", *overrides))
    torch.set_float32_matmul_precision("highest")
    options = Options(
        (str(folder),), ("loss",), "model", 0, "cpu", False, False, False, None,
        Likelihood(30, 60, "fixed"), Reconstruction((0.0, 0.5), False), Generation(200, 3),
    )  # fmt: skip
    with torch.no_grad():
        return Subject(RunFolder(folder), options, torch.device("cpu"))


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def model(subject):
    return load_run(subject.folder.path)


@pytest.fixture(scope="module")
def images():
    """x_test (297, 784), its labels, x_train without the held-out class, its labels."""
    found = sources.load("digits", None)
    test, train = (torch.from_numpy(part) for part in (found.test_images, found.train_images))
    labels, train_labels = (torch.from_numpy(part).long() for part in (found.test_labels, found.train_labels))
    known = train_labels != HELD_OUT
    return pixels(test), labels, pixels(train[known]), train_labels[known]


def prior_images(model):
    return model.generate(randomness.normal((200, 4), torch.device("cpu"), 0, "evaluated prior"))


def test_images_are_restored_from_unclipped_noise_and_compared_with_clean_ones(subject, model, images):
    x = images[0]
    found = groups.reconstruction(subject).metrics
    noisy = x + 0.5 * randomness.normal(x.shape, torch.device("cpu"), 0, "evaluated test noise")
    expected = (model.reconstruct(noisy) - x).square().mean().item()
    assert found["sigma_0.5/mse"].value == pytest.approx(expected, rel=1e-5)
    assert found["sigma_0/mse"].value == pytest.approx((model.reconstruct(x) - x).square().mean().item(), rel=1e-5)
    assert "sigma_0.3/mse" in found  # the run's own


def test_codes_are_proposed_for_the_grey_image_and_weighed_by_the_binary_one(subject, model, images):
    x = images[0][:60]
    generator = randomness.generator("cpu", 0, "binarisation", 0)
    binary = (torch.rand(x.shape, generator=generator) < x).float()
    mu, logvar = model.encode(x)
    generator = randomness.generator("cpu", 0, "importance samples", 0, 0)
    eps = torch.cat([torch.randn((k, 60, 4), generator=generator) for k in (16, 14)])  # 1,000 codes or fewer at once
    z = mu + eps * torch.exp(0.5 * logvar)
    log_p = torch.stack([-losses.reconstruction_per_image(model.decode(one), binary) for one in z])
    log_w = log_p.double() + torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=-1)
    log_w -= torch.distributions.Normal(mu, torch.exp(0.5 * logvar)).log_prob(z).sum(dim=-1)
    expected = likelihood.log_mean_exp(log_w).mean().item()
    found = groups.log_likelihood(subject).metrics["log_likelihood_fixed_k30"]
    assert found.value == pytest.approx(expected, abs=1e-3)
    assert found.n == 60


def test_anomalies_are_told_from_images_of_known_classes(subject, model, images):
    x, labels, _, _ = images
    found = groups.anomalies(subject).metrics
    mu, logvar = model.encode(x)
    error = losses.reconstruction_per_image(model.decode(mu), x)
    scores = {
        "reconstruction": error,
        "loss": error + losses.kl_per_code(mu, logvar).sum(dim=1),
        "discriminator": -model.discriminate(x).squeeze(1),
    }
    for name, score in scores.items():
        expected = roc_auc_score(labels == HELD_OUT, score)
        assert found[f"held_out_class/{name}"].value == pytest.approx(expected, abs=1e-6)
        assert found[f"held_out_class/{name}"].n == len(x)


def test_the_gap_is_test_minus_training_and_copies_are_the_near_ones(subject, model, images):
    x, _, train, _ = images
    found = groups.overfitting(subject).metrics
    assert found["gap"].value == found["test_loss"].value - found["train_loss"].value
    generated, _ = memorising.nearest(prior_images(model), train)
    unseen, _ = memorising.nearest(x[:200], train)
    share = (generated < torch.quantile(unseen, 0.01)).double().mean().item()
    assert found["copies"].value == share
    assert found["nearest_distance_ratio"].value == pytest.approx((generated.mean() / unseen.mean()).item(), rel=1e-5)


def test_what_the_discriminator_takes_for_real(subject, model, images):
    x = images[0]
    found = groups.discriminator(subject).metrics
    real, prior = (model.discriminate(part).squeeze(1).sigmoid() for part in (x, prior_images(model)))
    assert found["accuracy_real"].value == pytest.approx((real > 0.5).double().mean().item())
    assert found["accuracy_prior"].value == pytest.approx((prior < 0.5).double().mean().item())
    noisy = x + 0.3 * randomness.normal(x.shape, torch.device("cpu"), subject.config.seed, "test noise", 0)
    restored = model.discriminate(model.reconstruct(noisy)).squeeze(1).sigmoid()
    assert found["accuracy_reconstruction"].value == pytest.approx((restored < 0.5).double().mean().item())
    fake = torch.cat([prior, restored])
    fake = fake[torch.linspace(0, len(fake) - 1, len(real)).long()]
    expected = calibration_error(torch.cat([real, fake]), torch.arange(2 * len(real)) < len(real))
    assert found["calibration_error"].value == pytest.approx(expected.value, abs=1e-6)


def test_samples_of_prior_mixture_and_training_images_are_each_compared_with_test_images(subject, model, images):
    x, _, train, _ = images
    found = groups.samples(subject)
    network = features.load("digits", None, "cpu")
    test = network(x[:200])[0]
    named = {"real": train[:200], "prior": prior_images(model), "mixture": subject.mixture_samples}
    for name, generated in named.items():
        seen, logits = network(generated)
        expected = generation.frechet_distance(test, seen)
        assert found.metrics[f"{name}/frechet_distance"].value == pytest.approx(expected, rel=1e-3)
        assert found.arrays[f"{name}/class_shares"] == pytest.approx(generation.class_shares(logits).tolist())
    assert not torch.equal(named["mixture"], named["prior"])


def test_probes_learn_from_training_codes_and_are_asked_about_test_codes_of_known_classes(subject, model, images):
    x, labels, train, train_labels = images
    known = labels != HELD_OUT
    codes = model.encode(train)[0], train_labels, model.encode(x[known])[0], labels[known]
    found = groups.latent_space(subject).metrics
    for name, expected in {
        "probe_accuracy": latent.probe_accuracy(*codes),
        "probe_accuracy_100_labels": latent.few_label_accuracy(*codes, 100, seed=0),
        "knn_accuracy": latent.knn_accuracy(*codes),
    }.items():
        assert found[name].value == pytest.approx(expected.value, abs=0.01), name
        assert found[name].n == known.sum()


def test_images_of_one_class_have_no_probes_and_the_rest_all_the_same(subject, monkeypatch):
    """As where a user's own images have no labels but zeros."""
    labels = {split: torch.zeros_like(subject.labels(split)) for split in ("train", "test")}
    monkeypatch.setattr(subject, "labels", labels.get)
    found = groups.latent_space(subject)
    assert found.metrics.keys() == {"active_units", "mmd", "mmd_floor"}
    reasons = {found.not_applicable[name] for name in ("knn_accuracy", "silhouette", "probe_accuracy")}
    assert reasons == {"the images are all labelled as one class"}
