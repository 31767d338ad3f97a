"""The numbers of a report, by hand."""

import math

import pytest

from vaegan.reporting.collect import collect
from vaegan.reporting.comparison import (
    Estimate,
    beside_paper,
    claim,
    describe,
    sections,
    verdict,
)


def section_of(tmp_path):
    [section] = sections(collect(tmp_path / "sweep"))
    return section


def test_mean_and_sample_deviation():
    estimate = Estimate((1.0, 2.0, 6.0))
    assert estimate.mean == 3
    assert estimate.sd == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert estimate.show(2) == "3.00 ± 2.65"
    assert Estimate((1234.5,)).sd is None
    assert Estimate((1234.5,)).show() == "1,234.5"


def test_whatever_varies_makes_the_groups_and_the_seed_does_not(make_run, tmp_path):
    for seed in (0, 1):
        for lr in (0.001, 0.002):
            make_run(f"{seed}{lr}", f"seed={seed}", f"optimizer.vae.lr={lr}", losses=(200 + seed, 100 + 2 * seed))
    section = section_of(tmp_path)
    assert section.varying == ("optimizer.vae.lr",)
    assert [group.settings["optimizer.vae.lr"] for group in section.groups] == [0.001, 0.002]
    assert [estimate.values for estimate in section.groups[0].curve("test/loss")] == [(200, 201), (100, 102)]
    assert section.groups[0].final("test/loss").show() == "101.0 ± 1.4"
    assert describe(section.groups[1].settings) == "lr 0.002"
    assert section.pairs == ()


def test_only_finished_runs_are_averaged(make_run, tmp_path):
    make_run("a", "seed=0", losses=(200, 100))
    make_run("b", "seed=1", losses=(900, 900), state="failed")
    [group] = section_of(tmp_path).groups
    assert group.final("test/loss").values == (100,)


def test_data_sets_are_kept_apart(make_run, tmp_path):
    make_run("a", "data=mnist")
    make_run("b", "data=fashion_mnist")
    assert [(section.data, len(section.groups)) for section in sections(collect(tmp_path / "sweep"))] == [
        ("fashion_mnist", 1),
        ("mnist", 1),
    ]


def test_the_hidden_width_is_named_only_where_it_says_more_than_d(make_run, tmp_path):
    make_run("a", "model.latent_dim=2")
    make_run("b", "model.latent_dim=3")
    assert section_of(tmp_path).varying == ("model.latent_dim",)
    make_run("c", "model.latent_dim=3", "model.hidden_dim=50")
    assert section_of(tmp_path).varying == ("model.latent_dim", "model.hidden_dim")


def test_objectives_differ_by_their_kind(make_run, tmp_path):
    make_run("a", "objective=vae")
    make_run("b", "objective=vaegan")
    make_run("c", "objective=autoencoder")
    assert section_of(tmp_path).varying == ("objective.kind",)


def test_gap_compares_reconstruction_and_kl_alone(make_run, tmp_path):
    make_run("a", losses=(200, 100))
    [group] = section_of(tmp_path).groups
    # test 200 and 100; training (loss - 20) + 30; the training loss of the file is loss + 12
    assert [estimate.mean for estimate in group.gap()] == [200 - 210, 100 - 110]


def test_epochs_and_seconds_to_reach_a_loss(make_run, tmp_path):
    make_run("a", "seed=0", losses=(200, 150, 120), epoch_seconds=[3.0, 4.0, 5.0])
    make_run("b", "seed=1", losses=(200, 110, 100), epoch_seconds=[1.0, 1.0, 1.0])
    [group] = section_of(tmp_path).groups
    assert group.reach(150) == ([2, 2], [7.0, 2.0])
    assert group.reach(120) == ([3, 2], [12.0, 2.0])
    assert group.reach(110) == ([None, 2], [None, 2.0])
    assert [estimate.mean for estimate in group.seconds()] == [2, 4.5, 7.5]


def pair_runs(make_run, plain: dict, normed: dict, *overrides: str):
    for batch_norm, losses in (("false", plain), ("true", normed)):
        for seed, values in losses.items():
            make_run(f"{batch_norm}{seed}", f"model.batch_norm={batch_norm}", f"seed={seed}", *overrides, losses=values)


def test_batch_norm_is_compared_seed_by_seed(make_run, tmp_path):
    pair_runs(make_run, {0: (200, 100), 1: (210, 104)}, {0: (150, 110), 1: (150, 101), 2: (1, 1)})
    [pair] = section_of(tmp_path).pairs
    assert [estimate.values for estimate in pair.gain("test/loss")] == [(50, 60), (-10, 3)]
    assert verdict(pair) == (
        "with BatchNorm the test loss is lower after 1 of 2 epochs: 55.0 nats less after epoch 1 and 3.5 nats more (3%) after "
        "epoch 2, lower in 1 of 2 seeds. It does not reach the final loss without BatchNorm."
    )


def test_a_verdict_says_when_the_other_loss_is_reached(make_run, tmp_path):
    pair_runs(make_run, {0: (200, 160, 120)}, {0: (110, 100, 90)})
    [pair] = section_of(tmp_path).pairs
    assert verdict(pair) == (
        "with BatchNorm the test loss is lower after each of the 3 epochs: 90.0 nats less after epoch 1 and 30.0 nats less (25%) "
        "after epoch 3, one seed. It reaches the final loss without BatchNorm in 1 of 3 epochs."
    )


PAPERS_SETTINGS = ("model.latent_dim=50", "data.batch_size=2000")


def test_the_papers_tables_in_its_own_unit(make_run, tmp_path):
    pair_runs(make_run, {0: (230.3283, 90), 1: (230.3283, 90)}, {0: (140, 80), 1: (150, 80)}, *PAPERS_SETTINGS)
    test_loss, average = beside_paper(section_of(tmp_path))
    assert test_loss.title == "Table 1: Comparison of test set loss (d = 50)"
    epoch, paper_plain, plain, paper_normed, normed = test_loss.rows()[0]
    assert (epoch, paper_plain, paper_normed) == (1, 230.3283, 147.8428)
    assert (plain.mean, normed.values) == (pytest.approx(230.3283), (140, 150))
    # Table 2 sums over the 2000 images of a batch; the file's training loss is 12 above the test loss.
    assert average.rows()[0][1] == 469043.5302
    assert average.rows()[0][4].values == (2000 * 152, 2000 * 162)
    assert claim(test_loss) == (
        "The claim holds: with BatchNorm the loss is lower after 2 of 2 epochs (\N{MINUS SIGN}37% after epoch 1, "
        "\N{MINUS SIGN}11% after epoch 2; in the paper \N{MINUS SIGN}36% and \N{MINUS SIGN}30%). "
        "Our losses are 0.50 to 1.00 times the paper's."
    )


@pytest.mark.parametrize(
    "plain, normed, begins",
    [((100, 90), (90, 95), "The claim holds in part"), ((100, 90), (110, 95), "The claim does not hold")],
)
def test_a_claim_that_fails_is_said_to(make_run, tmp_path, plain, normed, begins):
    pair_runs(make_run, {0: plain}, {0: normed}, *PAPERS_SETTINGS)
    assert claim(beside_paper(section_of(tmp_path))[0]).startswith(begins)


@pytest.mark.parametrize(
    "override",
    [
        "data.batch_size=128",
        "model.latent_dim=20",
        "data.noise_std=0.5",
        "objective=vae",
        "data=fashion_mnist",
        "data.num_images=50000",
    ],
)
def test_other_settings_do_not_stand_beside_the_paper(make_run, tmp_path, override):
    pair_runs(make_run, {0: (100, 90)}, {0: (90, 80)}, *PAPERS_SETTINGS, override)
    assert beside_paper(section_of(tmp_path)) == []


def test_denoising_stands_beside_the_paper_at_every_noise_level(make_run, tmp_path):
    for std in (0.25, 0.5):
        for batch_norm in ("true", "false"):
            options = (f"data.noise_std={std}", f"model.batch_norm={batch_norm}", "model.latent_dim=100")
            make_run(f"{std}{batch_norm}", *options)
    titles = [beside.title for beside in beside_paper(section_of(tmp_path))]
    assert len(titles) == 4
    assert titles[0] == "Table 3: Comparison of denoised data test set loss (d = 100, noise 0.25)"


def test_a_single_epoch_is_told_as_one(make_run, tmp_path):
    pair_runs(make_run, {0: (100,)}, {0: (110,)})
    [pair] = section_of(tmp_path).pairs
    assert verdict(pair).startswith(
        "with BatchNorm the test loss is not lower after the only epoch: 10.0 nats more (10%)"
    )
