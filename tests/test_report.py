"""`python -m vaegan.report`: the files it writes, the numbers in them, and the page in a browser."""

import csv
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from pyarrow import parquet

from vaegan.runs import RunFolder, SweepFolder


def report(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "vaegan.report", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """A real sweep on digits, reported, with one job that never ran and one that failed."""
    cwd = tmp_path_factory.mktemp("swept")
    command = [sys.executable, "-m", "vaegan.train", "-m", "+sweep=quick", "trainer.max_epochs=3", "seed=0,1,2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "logger.tensorboard=false"], cwd=cwd, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = SweepFolder(cwd / "outputs" / "quick")
    jobs = sweep.read_jobs()
    assert len(jobs) == 12
    sweep.write_jobs(jobs | {"never-ran": {"experiment": "x", "overrides": [], "identity": {"seed": 9}}})
    failed = RunFolder(sweep.path / "latent_dim8-batch_norm-seed2")
    failed.write_status(failed.read_status() | {"state": "failed", "error": "RuntimeError: a <b>bold</b> | error"})
    done = report("outputs/quick", cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report      outputs/quick/report/report.html" in done.stdout
    assert "13 runs: 11 finished, 1 failed, 1 waiting." in done.stdout
    return sweep.path


def losses(swept: Path, name: str) -> list[float]:
    """Column test/loss of a run's metrics.csv, read without vaegan."""
    with (swept / name / "metrics.csv").open() as file:
        return [float(row["test/loss"]) for row in csv.DictReader(file)]


def markdown_table(text: str, title: str) -> list[list[str]]:
    lines = text[text.index(f"### {title}") :].splitlines()[2:]
    rows = [line for line in lines if line.startswith("|") or not line]
    end = next(n for n, line in enumerate(lines) if line and not line.startswith("|"))
    rows = [line for line in lines[:end] if line]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_the_tables_hold_what_the_runs_metrics_say(swept):
    text = (swept / "report" / "report.md").read_text()
    header, _, *rows = markdown_table(text, "All settings")
    assert header[:4] == ["d", "BatchNorm", "seeds", "epochs"]
    for d, batch_norm, seeds in (
        (2, "no_batch_norm", 3),
        (2, "batch_norm", 3),
        (8, "no_batch_norm", 3),
        (8, "batch_norm", 2),
    ):
        finals = [losses(swept, f"latent_dim{d}-{batch_norm}-seed{seed}")[-1] for seed in range(seeds)]
        [row] = [
            row for row in rows if row[0] == str(d) and row[1] == ("with" if batch_norm == "batch_norm" else "without")
        ]
        assert row[2:4] == [str(seeds), "3"]
        assert row[4] == f"{statistics.mean(finals):.1f} ± {statistics.stdev(finals):.1f}"
    [gain] = [row[3] for row in markdown_table(text, "Does BatchNorm help?") if row[0] == "8"]
    differences = [
        losses(swept, f"latent_dim8-no_batch_norm-seed{seed}")[-1]
        - losses(swept, f"latent_dim8-batch_norm-seed{seed}")[-1]
        for seed in (0, 1)
    ]
    assert gain == f"{statistics.mean(differences):.1f} ± {statistics.stdev(differences):.1f}"


def test_what_is_not_finished_is_listed_with_the_reason(swept):
    rows = markdown_table((swept / "report" / "report.md").read_text(), "Not finished")[2:]
    assert rows == [
        ["latent_dim8-batch_norm-seed2", "failed", "RuntimeError: a &lt;b>bold&lt;/b> \\| error"],
        ["never-ran", "waiting", "never started"],
    ]


def test_a_row_for_each_run_in_csv_and_parquet(swept):
    with (swept / "report" / "runs.csv").open() as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert len(rows) == 13
    row = rows["latent_dim2-batch_norm-seed1"]
    assert (row["state"], row["seed"], row["model.latent_dim"], row["model.batch_norm"]) == (
        "finished",
        "1",
        "2",
        "True",
    )
    expected = losses(swept, "latent_dim2-batch_norm-seed1")
    assert [float(row[f"test/loss {epoch}"]) for epoch in (1, 2, 3)] == expected
    assert float(row["final test/loss"]) == expected[-1]
    assert len(row["revision"]) >= 40 or row["revision"] == ""
    assert rows["never-ran"]["test/loss 1"] == ""
    table = parquet.read_table(swept / "report" / "runs.parquet")
    assert table.num_rows == 13
    assert table.column_names == list(row)
    column = dict(zip(table["run"].to_pylist(), table["final test/loss"].to_pylist(), strict=True))
    assert column["latent_dim2-batch_norm-seed1"] == expected[-1]
    assert column["never-ran"] is None


def test_every_figure_is_there_as_png_and_svg(swept):
    figures = swept / "report" / "figures"
    names = {path.stem for path in figures.glob("*.png")}
    assert names == {path.stem for path in figures.glob("*.svg")}
    assert names == {
        f"digits_{name}"
        for name in (
            *("test_loss", "train_loss", "gap", "epochs_to_loss", "seconds_to_loss", "loss_against_latent_dim"),
            *("images_1", "images_2", "plane_1", "digit_1"),
        )
    }
    for path in figures.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 200
            assert image.convert("L").getextrema() != (255, 255)
    text = (swept / "report" / "report.md").read_text()
    assert {Path(name).stem for name in re.findall(r"\]\((figures/[^)]+)\)", text)} == names


def test_a_report_is_written_elsewhere_and_again(swept, tmp_path):
    for _ in range(2):
        done = report(str(swept), "--out", "there", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    here = (tmp_path / "there" / "report.md").read_text()
    assert here == (swept / "report" / "report.md").read_text()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["nowhere"], "nowhere is not a folder; give one with runs, such as outputs/paper."),
        (["empty"], "empty holds no runs; give a folder with run folders in it, such as outputs/paper."),
        ([], "the following arguments are required: folder"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, arguments, sentence):
    (tmp_path / "empty").mkdir()
    done = report(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_in_the_way_is_named(swept, tmp_path):
    (tmp_path / "file").write_text("mine")
    done = report(str(swept), "--out", "file", cwd=tmp_path)
    assert done.returncode == 2
    assert "file cannot be written" in done.stderr
    assert (tmp_path / "file").read_text() == "mine"


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_page_in_a_browser(swept):
    """On a phone's width: no error, no request elsewhere, every picture drawn, the tables' cells, nothing wider than it."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 390, "height": 844})
        errors, requests = [], []
        page.on(
            "console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((swept / "report" / "report.html").as_uri())
        page.wait_for_load_state("load")
        widths = page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
        cells = page.eval_on_selector_all(
            "table", "tables => tables.map(t => [...t.rows].map(r => [...r.cells].map(c => c.innerText)))"
        )
        page_width = page.evaluate("document.documentElement.scrollWidth")
        bold = page.locator("td b").count()
        browser.close()
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert len(widths) == 10
    assert min(widths) > 100
    assert page_width <= 390
    assert bold == 0  # an error's text is text
    text = (swept / "report" / "report.md").read_text()
    shown = {title: markdown_table(text, title) for title in ("Not finished", "All settings", "Does BatchNorm help?")}
    for header, _, *rows in shown.values():
        assert [header, *[[cell.replace("\\|", "|").replace("&lt;", "<") for cell in row] for row in rows]] in cells
