"""What a report says of evaluated runs, by hand."""

import csv
import json
import math
import re
import statistics

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image
from pyarrow import parquet

from vaegan.errors import UserError
from vaegan.reporting import evaluation, evaluation_figures, grids, page
from vaegan.reporting.collect import collect
from vaegan.reporting.comparison import sections

FRECHET = "prior/frechet_distance"


def group(values: dict, n=10_000, unit="nats per image", error=None, not_applicable=None, **options) -> dict:
    """A group of evaluation/metrics.json in which all metrics have the same unit, n and standard error."""
    return {
        "options": {"seed": 0, "weights": "model"} | options,
        "device": "cpu, 2 threads",
        "seconds": 2.5,
        "metrics": {
            name: {"value": value, "unit": unit, "n": n, "standard_error": error} for name, value in values.items()
        },
        "not_applicable": not_applicable or {},
        "arrays": {},
    }


def samples(distance: float, n=10_000, error=None, floor=0.5) -> dict:
    values = {"real/frechet_distance": floor, FRECHET: distance}
    return {"generation": group(values, n, "squared feature distance", error, num_samples=n)}


def section_of(tmp_path):
    [section] = sections(collect(tmp_path / "sweep"))
    return section


def table(tmp_path, title: str):
    [found] = [table for table in evaluation.tables(section_of(tmp_path)) if table.title.startswith(title)]
    return found


def cells(tmp_path, title: str, heading: str) -> list[str]:
    """A column of a table, by the beginning of its heading."""
    found = table(tmp_path, title)
    [place] = [n for n, text in enumerate(found.header) if text.startswith(heading)]
    return [row[place] for row in found.rows]


def written(tmp_path) -> str:
    page.write(collect(tmp_path / "sweep"), tmp_path / "sweep", tmp_path / "report", say=lambda name: None)
    return (tmp_path / "report" / "report.md").read_text()


# Tables


def test_mean_and_deviation_over_seeds_unit_and_count_of_the_file(make_run, tmp_path):
    values = (1.25, 1.5, 2.75)
    for seed, value in enumerate(values):
        make_run(f"{seed}", f"seed={seed}", evaluation=samples(value, n=4321, error=0.1))
    expected = f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"
    assert cells(tmp_path, "Samples", "Fréchet") == [expected, "0.500 (0.100)"]
    assert cells(tmp_path, "Samples", "seeds") == ["3", ""]
    note = table(tmp_path, "Samples").note
    assert "Unit: squared feature distance, n = 4,321." in note
    assert "Mean ± standard deviation over seeds." in note
    assert "lower is better" in note and "higher is better" not in note


def test_a_single_seed_shows_its_standard_error_and_no_deviation(make_run, tmp_path):
    make_run("a", evaluation={"loss": group({"loss": 150.0, "kl": 20.0}, error=0.25)})
    assert cells(tmp_path, "Loss", "test loss") == ["150.0 (0.2)"]
    assert cells(tmp_path, "Loss", "KL") == ["20.00 (0.25)"]
    assert "In brackets: the standard error" in table(tmp_path, "Loss").note
    assert "Mean ±" not in table(tmp_path, "Loss").note


def test_only_what_was_evaluated_is_in_the_tables_and_seeds_are_counted(make_run, tmp_path):
    for seed in range(3):
        found = {"loss": group({"loss": 150.0})} if seed < 2 else None
        make_run(f"a{seed}", f"seed={seed}", "model.latent_dim=3", evaluation=found)
        make_run(f"b{seed}", f"seed={seed}", "model.latent_dim=4")
    assert [row[:2] for row in table(tmp_path, "Loss").rows] == [["3", "2 of 3"]]
    assert [table.title for table in evaluation.tables(section_of(tmp_path))] == ["Loss and likelihood"]


def test_nothing_is_said_of_runs_that_were_not_evaluated(make_run, tmp_path):
    make_run("a")
    assert "## Evaluation" not in written(tmp_path)
    assert "evaluation " not in (tmp_path / "report" / "runs.csv").read_text()
    assert not any("evaluat" in line for line in page.headline(collect(tmp_path / "sweep")))


def test_what_does_not_apply_is_a_dash_and_the_reasons_are_said_once(make_run, tmp_path):
    values = {"prior/precision": 0.5, "mixture/precision": 0.6}
    make_run("vae", "objective=vae", evaluation={"generation": group(values), "latent": group({"mmd": 0.1})})
    nothing = group({}, not_applicable={"": "objective=gan has no encoder"})
    alone = group({"prior/precision": 0.4}, not_applicable={"mixture": "objective=gan has no codes"})
    for seed in (0, 1):
        folder = make_run(
            f"gan{seed}", "objective=gan", f"seed={seed}", evaluation={"generation": alone, "latent": nothing}
        )
        folder.write_status(folder.read_status() | {"metrics": {}})
        folder.write_metrics([{"epoch": 1, "step": 30, "train/loss": 0.7}])
    rows = [row[:-1] + row[-1:] for row in table(tmp_path, "Samples").rows]
    assert rows == [
        ["gan", "prior", "2", "0.400 ± 0.000"],
        ["vae", "prior", "1", "0.500"],
        ["gan", "mixture", "2", "–"],
        ["vae", "mixture", "1", "0.600"],
    ]
    assert table(tmp_path, "Samples").note.count("objective=gan has no codes") == 1
    assert cells(tmp_path, "Latent", "MMD") == ["–", "100.00"]
    assert "– does not apply: objective=gan has no encoder." in table(tmp_path, "Latent").note


def test_a_metric_that_is_missing_without_a_reason_is_an_empty_cell(make_run, tmp_path):
    make_run("a", "model.latent_dim=3", evaluation={"latent": group({"mmd": 0.1, "silhouette": 0.2})})
    make_run("b", "model.latent_dim=4", evaluation={"latent": group({"mmd": 0.1})})
    assert cells(tmp_path, "Latent", "silhouette") == ["0.200", ""]
    assert "An empty cell was not evaluated." in table(tmp_path, "Latent").note


def test_seeds_evaluated_otherwise_are_left_out_and_named(make_run, tmp_path):
    for seed, (distance, n) in enumerate(((9.0, 500), (1.0, 10_000), (3.0, 10_000))):
        make_run(f"{seed}", f"seed={seed}", evaluation=samples(distance, n, floor=0.5 + (n == 500)))
    assert cells(tmp_path, "Samples", "Fréchet") == ["2.000 ± 1.414", "0.500"]
    assert cells(tmp_path, "Samples", "seeds")[0] == "2 of 3"
    note = table(tmp_path, "Samples").note
    assert "left out: all runs: seed 0 (num samples 500 instead of 10000)." in note


def test_counts_that_differ_with_the_same_options_are_not_mixed(make_run, tmp_path):
    for seed, n in enumerate((10_000, 1_000, 10_000)):
        make_run(f"{seed}", f"seed={seed}", evaluation={"latent": group({"silhouette": 0.1 * seed}, n)})
    assert cells(tmp_path, "Latent", "silhouette") == ["0.100 ± 0.141"]  # 0 and 0.2
    assert "seed 1 (n 1000 instead of 10000)" in table(tmp_path, "Latent").note


def test_rows_that_were_evaluated_differently_are_said_and_not_compared(make_run, tmp_path):
    for batch_norm, n in (("false", 10_000), ("true", 500)):
        make_run(batch_norm, f"model.batch_norm={batch_norm}", evaluation=samples(2.0, n, floor=0.5))
    assert [row[0] for row in table(tmp_path, "Samples").rows[2:]] == [
        "real against real (no BatchNorm)",
        "real against real (BatchNorm)",
    ]
    note = table(tmp_path, "Samples").note
    assert "n = 10,000, but 500 for BatchNorm / real against real (BatchNorm)." in note
    assert "Not evaluated alike: num samples 10000, but 500 for BatchNorm." in note
    assert evaluation.sentences(section_of(tmp_path)) == []


def test_units_that_differ_between_rows_stand_in_the_cells(make_run, tmp_path):
    for d in (3, 4):
        found = {"latent": group({"active_units": d - 1.0}, unit=f"of {d} dimensions")}
        make_run(f"{d}", f"model.latent_dim={d}", evaluation=found)
    assert cells(tmp_path, "Latent", "active units") == ["2.0 of 3 dimensions", "3.0 of 4 dimensions"]


def restored(sigma: float, mse: float, **filters: float) -> dict[str, float]:
    return {f"sigma_{sigma:g}/mse": mse} | {f"sigma_{sigma:g}/{name}/mse": value for name, value in filters.items()}


def test_filters_stand_below_the_models_once(make_run, tmp_path):
    for d, mse in ((3, 0.02), (4, 0.03)):
        values = restored(0, 0.01) | restored(0.5, mse, noisy=0.25, nl_means=0.04) | restored(1, 0.1, noisy=1.0)
        values |= restored(0.3, 0.015) if d == 4 else {}
        make_run(f"{d}", f"model.latent_dim={d}", evaluation={"reconstruction": group(values)})
    found = table(tmp_path, "Reconstruction")
    assert found.header == ["d", "seeds", "σ = 0", "σ = 0.3", "σ = 0.5", "σ = 1"]
    assert found.rows == [
        ["3", "1", "10.00", "", "20.00", "100.00"],
        ["4", "1", "10.00", "15.00", "30.00", "100.00"],
        ["noisy input", "", "", "", "250.00", "1,000.00"],
        ["non-local means", "", "", "", "40.00", ""],
    ]


def test_references_that_differ_between_settings_are_kept_apart(make_run, tmp_path):
    for clip, noisy in (("false", 0.25), ("true", 0.11)):
        values = restored(0.5, 0.02, noisy=noisy)
        make_run(clip, f"data.noise_clip={clip}", evaluation={"reconstruction": group(values)})
    assert [row[0] for row in table(tmp_path, "Reconstruction").rows[2:]] == [
        "noisy input (noise clip False)",
        "noisy input (noise clip True)",
    ]


def test_a_reference_that_differs_by_rounding_alone_is_one(make_run, tmp_path):
    for seed, floor in enumerate((0.5, 0.50001, 0.49999)):
        make_run(f"{seed}", f"seed={seed}", f"model.latent_dim={3 + seed % 2}", evaluation=samples(2.0, floor=floor))
    assert [row[0] for row in table(tmp_path, "Samples").rows] == ["3", "4", "real against real"]
    assert cells(tmp_path, "Samples", "Fréchet")[-1] == "0.500"


def test_a_filter_that_is_not_installed_is_named(make_run, tmp_path):
    missing = {"sigma_0.5/nl_means": "scikit-image is not installed"}
    found = {"reconstruction": group(restored(0.5, 0.02, noisy=0.25), not_applicable=missing)}
    make_run("a", evaluation=found)
    assert "non-local means, because scikit-image is not installed" in table(tmp_path, "Reconstruction").note


def test_every_group_has_its_table_even_one_that_is_not_known(make_run, tmp_path):
    found = {
        "loss": group({"loss": 150.0}),
        "likelihood": group({"log_likelihood_fixed_k500": -99.0, "log_likelihood_fixed_k50": -101.0}),
        "reconstruction": group({f"sigma_0/{measure}": 0.5 for measure in ("mse", "psnr", "ssim")}),
        "generation": group({FRECHET: 1.0}),
        "latent": group({"probe_accuracy_100_labels": 0.7, "probe_accuracy": 0.9}),
        "overfitting": group({"gap": 0.3}),
        "anomaly": group({"fashion_mnist/kl": 0.9, "noise/kl": 1.0}),
        "discriminator": group({"accuracy_real": 0.8}),
        "later": group({"some_number": 3.0}),
    }
    make_run("a", evaluation=found)
    tables = evaluation.tables(section_of(tmp_path))
    assert [table.title.partition(":")[0] for table in tables] == [
        "Loss and likelihood",
        *["Reconstruction and denoising"] * 3,
        *("Samples", "Latent space", "Overfitting", "Anomaly detection (AUROC)", "Discriminator", "later"),
    ]
    assert tables[0].header[-2:] == ["log p(x) (fixed, k = 50) ↑", "log p(x) (fixed, k = 500) ↑"]
    assert tables[5].header[-2:] == ["probe accuracy ↑", "probe on 100 labels ↑"]
    assert [row[1:] for row in tables[7].rows] == [["fashion mnist", "1", "0.900"], ["noise", "1", "1.000"]]
    assert tables[-1].header[-1] == "some number"


@pytest.mark.parametrize(
    "large, small, shown", [(97.9, 26.9, ["97.90", "26.90"]), (300.0, 0.0123, ["300.000", "0.012"])]
)
def test_digits_fit_the_column(make_run, tmp_path, large, small, shown):
    make_run("a", "model.latent_dim=3", evaluation=samples(large, floor=small))
    make_run("b", "model.latent_dim=4", evaluation=samples(small, floor=small))
    assert cells(tmp_path, "Samples", "Fréchet")[:2] == shown


def test_how_the_runs_were_evaluated_is_stated(make_run, tmp_path):
    for seed in (0, 1):
        make_run(f"{seed}", f"seed={seed}", evaluation=samples(2.0, n=700))
    facts = evaluation.how_evaluated(section_of(tmp_path))
    assert facts.rows == [["generation", "seed 0, weights model, num samples 700", "cpu, 2 threads", "2", "2.5"]]


# Sentences


def pair(make_run, plain: list[dict], normed: list[dict], *overrides: str) -> None:
    for batch_norm, found in (("false", plain), ("true", normed)):
        for seed, metrics in enumerate(found):
            make_run(
                f"{batch_norm}{seed}", f"model.batch_norm={batch_norm}", f"seed={seed}", *overrides, evaluation=metrics
            )


def test_a_verdict_is_computed_seed_by_seed(make_run, tmp_path):
    def found(distance, log_p, mse):
        return samples(distance) | {
            "likelihood": group({"log_likelihood_fixed_k500": log_p, "log_likelihood_fixed_k5": 0.0}),
            "reconstruction": group(restored(0.5, mse)),
        }

    plain = [found(3.0, -100.0, 0.02), found(4.0, -101.0, 0.02)]
    normed = [found(2.0, -103.0, 0.02), found(4.5, -101.5, 0.02)]
    pair(make_run, plain, normed, "data.noise_std=0.5")
    [sentence] = evaluation.sentences(section_of(tmp_path))
    assert sentence == (
        "with BatchNorm the Fréchet distance of samples is lower (3.250 against 3.500, in 1 of 2 seeds), log p(x) is lower "
        "(-102.2 against -100.5 nats, in 2 of 2 seeds) and the squared error × 1000 at noise 0.5 is the same "
        "(20.00 against 20.00, in 0 of 2 seeds)."
    )


def test_the_best_setting_is_named_with_its_number(make_run, tmp_path):
    for d, distance in ((3, 2.0), (4, 1.25), (5, 3.0)):
        make_run(f"{d}", f"model.latent_dim={d}", evaluation=samples(distance))
    make_run("6", "model.latent_dim=6")
    section = section_of(tmp_path)
    assert evaluation.sentences(section) == ["Lowest Fréchet distance of samples of 3 settings: 1.250 (d = 4)."]
    assert page.headline(collect(tmp_path / "sweep"))[-2:] == [
        "evaluated: 3 of 4 finished runs on mnist",
        "Lowest Fréchet distance of samples of 3 settings: 1.250 (d = 4).",
    ]


def test_the_headline_of_one_setting_holds_its_numbers(make_run, tmp_path):
    make_run("a", evaluation=samples(1.25))
    assert page.headline(collect(tmp_path / "sweep"))[-2:] == [
        "evaluated: 1 of 1 finished runs on mnist",
        "Fréchet distance of samples 1.250",
    ]


# Files


DAMAGE = {
    "no JSON": "{",
    "a list": "[]",
    "deep": "[" * 100_000,
    "no groups": '{"vaegan": "0.1.0"}',
    "groups in a list": '{"groups": []}',
    "bytes": b"\xff\xfe\x00",
}
WRONG = {
    "not finite": {"value": math.nan},
    "infinite": {"value": math.inf},
    "no number": {"value": "98"},
    "a flag": {"value": True},
    "no unit": {"unit": None},
    "half an image": {"n": 0.5},
    "negative error": {"standard_error": -1.0},
    "error not finite": {"standard_error": math.inf},
}


def assert_left_out(tmp_path, reason: str) -> None:
    hurt = next(run for run in collect(tmp_path / "sweep") if run.name == "hurt")
    assert hurt.is_finished and hurt.evaluation == {}
    assert "metrics.json" in hurt.evaluation_problem and reason in hurt.evaluation_problem
    text = written(tmp_path)
    assert text.count("The evaluation of hurt is left out: ") == 1
    assert "| 2 | 2 | 150.0 ± 0.0 |" in text  # its training counts: both seeds
    assert cells(tmp_path, "Latent", "seeds") == ["1 of 2"]


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_loses_the_evaluation_and_not_the_run(make_run, tmp_path, content):
    for seed, name in enumerate(("hurt", "whole")):
        folder = make_run(name, f"seed={seed}", evaluation={"latent": group({"mmd": 0.1})})
        if name == "hurt":
            folder.evaluation_metrics.write_bytes(content if isinstance(content, bytes) else content.encode())
            with pytest.raises(
                UserError, match=r"metrics.json is damaged \(.*; run `python -m vaegan.evaluate run=.*hurt"
            ):
                folder.read_evaluation()
    assert_left_out(tmp_path, "is damaged")


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_metric_that_is_no_number_damages_the_file(make_run, tmp_path, change):
    found = group({"mmd": 0.1})
    found["metrics"]["mmd"] |= change
    folder = make_run("a", evaluation={"latent": found})
    with pytest.raises(UserError, match="latent/mmd is not a finite number"):
        folder.read_evaluation()


@pytest.mark.parametrize(
    "change",
    [
        {"options": []},
        {"not_applicable": {"mmd": 3}},
        {"arrays": {"kl": [1.0, "x"]}},
        {"arrays": {"kl": 1.0}},
        {"metrics": []},
        {"metrics": {"<b>": {"value": 1.0, "unit": "", "n": 1, "standard_error": None}}},
        {"metrics": {"a//b": {"value": 1.0, "unit": "", "n": 1, "standard_error": None}}},
    ],
)
def test_a_group_of_another_shape_damages_the_file(make_run, tmp_path, change):
    folder = make_run("a", evaluation={"latent": group({"mmd": 0.1}) | change})
    with pytest.raises(UserError, match="is damaged"):
        folder.read_evaluation()


def test_a_run_without_an_evaluation_has_no_groups(make_run):
    assert make_run("a").read_evaluation() == {}


def test_an_evaluation_of_other_weights_is_left_out(make_run, tmp_path):
    latent = {"latent": group({"mmd": 0.1})}
    make_run("whole", evaluation=latent | {"loss": group({"loss": 150.1})})
    make_run("hurt", "seed=1", evaluation=latent | {"loss": group({"loss": 160.0})})
    assert_left_out(tmp_path, "with a test loss of 160.0 where the run ended with 150.0")


def test_another_checkpoint_may_have_another_loss(make_run, tmp_path):
    make_run("a", evaluation={"loss": group({"loss": 160.0}, weights="best")})
    [run] = collect(tmp_path / "sweep")
    assert run.evaluated["loss/loss"]["value"] == 160.0


def test_every_metric_is_a_column_of_the_data(make_run, tmp_path):
    make_run("a", evaluation=samples(1.25) | {"latent": group({"mmd": 0.1})})
    make_run("b", "seed=1")
    written(tmp_path)
    with (tmp_path / "report" / "runs.csv").open() as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    names = [name for name in rows["a"] if name.startswith("evaluation ")]
    assert names == [
        f"evaluation {name}" for name in ("generation/real/frechet_distance", f"generation/{FRECHET}", "latent/mmd")
    ]
    assert [float(rows["a"][name]) for name in names] == [0.5, 1.25, 0.1]
    assert [rows["b"][name] for name in names] == ["", "", ""]
    columns = parquet.read_table(tmp_path / "report" / "runs.parquet")
    assert columns[names[1]].to_pylist() == [1.25, None]


def test_text_from_the_file_is_text(make_run, tmp_path):
    found = group({"mmd": 0.1}, unit="<b>unit</b>", not_applicable={"silhouette": "<script>alert(1)</script> \ud800"})
    found["device"] = "<script>alert(2)</script>"
    make_run("a", "model.latent_dim=3", evaluation={"latent": found})
    make_run("b", "model.latent_dim=4", evaluation={"latent": group({"silhouette": 0.1})})
    text = written(tmp_path)
    assert "&lt;script>alert(1)" in text and "&lt;b>unit" in text
    for content in (text, (tmp_path / "report" / "report.html").read_text()):
        assert "<script>" not in content and "<b>" not in content


# Figures


def sample_rows(folder, *names: str, shade: int) -> None:
    """samples.png: image number n of row number r is all of shade + 20 r + n."""
    pictures = {
        name: np.stack([np.full(784, shade + 20 * row + n, np.uint8) for n in range(12)])
        for row, name in enumerate(names)
    }
    grids.save(grids.draw_rows(pictures), folder.evaluation / "samples.png", list(pictures))


def drawn(tmp_path) -> dict:
    figures = {name: (caption, figure) for name, caption, figure in evaluation_figures._figures(section_of(tmp_path))}
    plt.close("all")
    return figures


def test_samples_of_each_setting_stand_in_its_row(make_run, tmp_path):
    for seed in (0, 1):
        sample_rows(
            make_run(f"gan{seed}", "objective=gan", f"seed={seed}", evaluation={}), "prior", shade=50 + 100 * seed
        )
    sample_rows(make_run("vae", "objective=vae", evaluation={}), "prior", "mixture", shade=100)
    caption, figure = drawn(tmp_path)["samples"]
    assert "seed 0:" in caption
    prior, mixture = (axes.images[0].get_array() for axes in figure.axes)
    centres = [15 + 30 * n for n in range(10)]
    assert prior[15, centres].tolist() == [50 + n for n in range(10)]  # gan, its first seed
    assert prior[45, centres].tolist() == [100 + n for n in range(10)]
    assert mixture[45, centres].tolist() == [120 + n for n in range(10)]
    assert (mixture[:30] == 255).all()  # a GAN has no mixture
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["gan", "vae"]


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\ndamaged"])
def test_samples_that_cannot_be_read_are_left_out(make_run, tmp_path, content):
    for d in (3, 4):
        folder = make_run(f"{d}", f"model.latent_dim={d}", evaluation=samples(1.0))
        (folder.evaluation / "samples.png").write_bytes(content)
    written(tmp_path)
    names = {path.stem for path in (tmp_path / "report" / "figures").glob("*.png")}
    assert "mnist_evaluation" in names and "mnist_samples" not in names and "run1_samples" not in names


def test_settings_are_compared_with_floor_and_best_filter(make_run, tmp_path):
    for d, distance in ((3, 2.0), (4, 1.25)):
        for seed in (0, 1):
            found = samples(distance + seed, floor=0.5)
            found["reconstruction"] = group(restored(0.5, 0.02, noisy=0.25, nl_means=0.04, median_filter=0.05))
            make_run(f"{d}{seed}", f"model.latent_dim={d}", "data.noise_std=0.5", f"seed={seed}", evaluation=found)
    caption, figure = drawn(tmp_path)["evaluation"]
    assert "means over seeds" in caption and "Not all" not in caption
    distances, errors = figure.axes
    points = {(line.get_xdata()[0], line.get_ydata()[0]) for line in distances.lines if line.get_marker() == "o"}
    assert points == {(2.5, 0), (1.75, 1)}
    assert [line.get_xdata()[0] for line in distances.lines if line.get_label() == "real against real"] == [0.5]
    assert [line.get_xdata()[0] for line in errors.lines if line.get_label() == "non-local means"] == [40.0]
    [bars] = distances.containers[0].lines[2]
    sd = statistics.stdev((2.0, 3.0))
    assert bars.get_segments()[0][:, 0].tolist() == pytest.approx([2.5 - sd, 2.5 + sd])


def test_denoising_is_drawn_against_sigma_with_filters_dashed(make_run, tmp_path):
    for d, mse in ((3, 0.02), (4, 0.03)):
        values = restored(0.5, mse, noisy=0.25) | restored(0, 0.01) | restored(1, 2 * mse, noisy=1.0)
        make_run(f"{d}", f"model.latent_dim={d}", evaluation={"reconstruction": group(values)})
    _, figure = drawn(tmp_path)["denoising"]
    [axes] = figure.axes
    curves = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    noisy = curves["noisy input"]
    assert noisy.get_linestyle() != "-"
    assert list(zip(noisy.get_xdata(), noisy.get_ydata(), strict=True))[1:] == [(0.5, 250.0), (1.0, 1000.0)]
    models = {c.get_label(): c.lines[0] for c in axes.containers}
    assert models["d = 4"].get_xdata().tolist() == [0, 0.5, 1]
    assert models["d = 4"].get_ydata().tolist() == pytest.approx([10, 30, 60])


def test_one_noise_level_is_no_curve(make_run, tmp_path):
    make_run("a", evaluation={"reconstruction": group(restored(0, 0.01))})
    assert "denoising" not in drawn(tmp_path)


def test_figures_are_there_as_png_and_svg(make_run, tmp_path):
    for d in (3, 4, 5):
        values = restored(0, 0.01) | restored(0.5, 0.02)
        folder = make_run(f"{d}", f"model.latent_dim={d}", evaluation=samples(1.0) | {"reconstruction": group(values)})
        sample_rows(folder, "prior", shade=100)
    text = written(tmp_path)
    for name in ("evaluation", "denoising", "samples"):
        assert f"(figures/mnist_{name}.png)" in text
        assert (tmp_path / "report" / "figures" / f"mnist_{name}.svg").exists()
    assert "run1_" not in text  # three runs are too many for their own pictures


def test_a_few_runs_show_their_own_pictures(make_run, tmp_path):
    folder = make_run("a", evaluation=samples(1.0))
    sample_rows(folder, "prior", "mixture", shade=100)
    Image.new("L", (20, 10)).save(folder.evaluation / "some_picture.png")
    Image.new("L", (20, 10)).save(folder.evaluation / "<script>.png")
    (folder.evaluation / "broken.png").write_text("no picture")
    text = written(tmp_path)
    pictures = re.findall(r"!\[(.*)\]\(figures/(run1_.*)\)", text)
    assert pictures == [
        ("Samples, a row for where their codes come from.", "run1_samples.png"),
        ("Some picture.", "run1_some_picture.png"),
    ]
    copy = tmp_path / "report" / "figures" / "run1_samples.png"
    assert copy.read_bytes() == (folder.evaluation / "samples.png").read_bytes()
    assert 'src="data:image/png;base64,' in (tmp_path / "report" / "report.html").read_text()
    assert not (tmp_path / "report" / "figures" / "mnist_samples.png").exists()  # it would show the same


def test_the_file_is_read_as_evaluate_writes_it(make_run):
    """Entries that the report does not need are allowed."""
    folder = make_run("a", evaluation=samples(1.0))
    content = json.loads(folder.evaluation_metrics.read_text())
    content["groups"]["generation"]["weights_sha256"] = "0" * 64
    folder.evaluation_metrics.write_text(json.dumps(content))
    assert folder.read_evaluation()["generation"]["metrics"][FRECHET]["value"] == 1.0
