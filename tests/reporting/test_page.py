"""What a report says that one sweep on digits (tests/test_report.py) does not show."""

import pytest

from vaegan.reporting import page
from vaegan.reporting.collect import collect


def written(tmp_path) -> str:
    page.write(collect(tmp_path / "sweep"), tmp_path / "sweep", tmp_path / "report", say=lambda name: None)
    assert (tmp_path / "report" / "report.html").stat().st_size > 1000
    return (tmp_path / "report" / "report.md").read_text()


def test_data_sets_are_kept_apart_and_that_is_said(make_run, tmp_path):
    make_run("a", "data=mnist")
    make_run("b", "data=kmnist")
    text = written(tmp_path)
    assert "They are of different data sets (kmnist, mnist), which are kept apart below." in text
    assert text.index("## Data set kmnist") < text.index("## Data set mnist")
    assert (tmp_path / "report" / "figures" / "kmnist_test_loss.svg").exists()


def test_the_papers_tables_stand_in_its_layout(make_run, tmp_path):
    for batch_norm, losses in (("false", (230.0, 180.0)), ("true", (150.0, 120.0))):
        for seed in (0, 1):
            shifted = [loss + 2 * seed for loss in losses]
            options = ("model.latent_dim=50", f"model.batch_norm={batch_norm}", f"seed={seed}")
            make_run(f"{batch_norm}{seed}", *options, losses=shifted)
    text = written(tmp_path)
    assert "| Epoch | Normal training, paper | ours | × | Regularizing (BatchNorm), paper | ours | × |" in text
    assert "| 1 | 230.3 | 231.0 ± 1.4 | 1.00 | 147.8 | 151.0 ± 1.4 | 1.02 |" in text
    assert "| 2 | 372,118 | 386,000 ± 2,828 | 1.04 | 296,214 | 266,000 ± 2,828 | 0.90 |" in text
    assert text.count("The claim holds") == 2


def test_nothing_finished_is_a_report_too(make_run, tmp_path):
    make_run("a", state="failed", error="RuntimeError: no luck")
    text = written(tmp_path)
    assert "1 run: 1 failed." in text
    assert "| a | failed | RuntimeError: no luck |" in text


@pytest.mark.parametrize("damage", ["images", "codes"])
@pytest.mark.parametrize("content", [b"", b"\x80\x04damaged", b"PK\x03\x04damaged", None])
def test_damaged_pictures_are_left_out(make_run, tmp_path, damage, content):
    for batch_norm in ("true", "false"):
        folder = make_run(batch_norm, "model.latent_dim=2", f"model.batch_norm={batch_norm}")
        files = [folder.codes] if damage == "codes" else list(folder.images.glob("*.png"))
        for path in files:
            path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    written(tmp_path)
    names = {path.stem for path in (tmp_path / "report" / "figures").glob("*.png")}
    assert ("mnist_images_1" in names) == (damage != "images")
    assert ("mnist_plane_1" in names) == (damage != "codes")


def make_gan(make_run, name: str, *overrides: str) -> None:
    folder = make_run(name, "objective=gan", *overrides, metrics={"train/loss": 0.7})
    folder.write_metrics([{"epoch": 1, "step": 30, "train/loss": 0.7, "train/adversarial": 0.7}])


def test_a_model_without_an_encoder_has_no_test_loss(make_run, tmp_path):
    make_gan(make_run, "a")
    assert "Models without an encoder have no test loss." in written(tmp_path)


def test_models_with_and_without_test_loss_in_one_report(make_run, tmp_path):
    for batch_norm in ("true", "false"):
        make_gan(make_run, f"gan{batch_norm}", f"model.batch_norm={batch_norm}")
        make_run(f"vae{batch_norm}", "objective=vae", f"model.batch_norm={batch_norm}", losses=(200.0, 150.0))
    text = written(tmp_path)
    assert "| gan | without | 1 | 1 |  | 0.7 |  |" in text
    assert "| vae | without | 1 | 2 | 150.0 | 162.0 | -10.0 |" in text
    assert text.count("with BatchNorm the test loss is lower") == 1


def test_seeds_that_share_no_loss_and_runs_of_one_epoch(make_run, tmp_path):
    for batch_norm in ("true", "false"):
        for seed, losses in ((0, (200.0,)), (1, (100.0,))):
            make_run(f"{batch_norm}{seed}", f"model.batch_norm={batch_norm}", f"seed={seed}", losses=losses)
    written(tmp_path)
    assert (tmp_path / "report" / "figures" / "mnist_epochs_to_loss.png").exists()


def test_text_from_files_is_text(make_run, tmp_path):
    make_run("a", state="failed", error="<script>alert(1)</script> | \ud800")
    text = written(tmp_path)
    assert "<script>" not in text
    assert "<script>alert" not in (tmp_path / "report" / "report.html").read_text()


def test_what_has_no_other_half_is_drawn_too(make_run, tmp_path):
    make_run("a", "model.latent_dim=3", "model.batch_norm=true")
    make_run("b", "model.latent_dim=3", "model.batch_norm=false")
    make_run("c", "model.latent_dim=4", "model.batch_norm=true")
    written(tmp_path)
    assert "<!-- d = 4, BatchNorm -->" in (tmp_path / "report" / "figures" / "mnist_test_loss.svg").read_text()
