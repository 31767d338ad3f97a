"""What is said of a sweep while it goes on."""

import io
from pathlib import Path

import pytest
from conftest import compose_values
from rich.console import Console

from vaegan import cli
from vaegan.sweeping import jobs, progress


@pytest.fixture
def four(tmp_path) -> list[jobs.Job]:
    compositions = [
        cli.Composition(compose_values("data=digits", f"seed={n}"), [f"seed={n}"], "default", Path("unused"), True)
        for n in range(4)
    ]
    found = jobs.lay_out(compositions, ["seed"], tmp_path)
    for job in found:
        job.folder.path.mkdir()
    return found


def status(job: jobs.Job, state: str, epoch: int, **more: object) -> None:
    job.folder.write_status({"state": state, "epoch": epoch, "max_epochs": 10, "error": None} | more)


@pytest.mark.parametrize("terminal", [False, True])
def test_done_running_failed_and_time_left(four, monkeypatch, terminal):
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    status(four[0], "interrupted", 5)  # half was done before
    console = Console(file=io.StringIO(), force_terminal=terminal, width=160, highlight=False, soft_wrap=True)
    shown = progress.Progress(four, console)
    shown._look()  # what an earlier start left is no news
    status(four[0], "finished", 10, metrics={"test/loss": 98.76}, epoch_seconds=[6.0] * 10)
    status(four[1], "failed", 0, error="Traceback\nRuntimeError: no luck")
    status(four[2], "running", 5)
    with four[2].folder.in_use():
        now += 30  # for half a job and half a job; one and a half are left
        statuses = {job.name: job.folder.read_status() for job in four}
        shown._ended = {"seed0": "finished", "seed1": "failed"}
        assert shown._time_left(statuses) == "about 45 s left"
        shown._ended = {}
        if terminal:
            shown._live.start()
        shown._look()
        text = console.file.getvalue()
        if terminal:
            shown._live.stop()
    assert "interrupted" not in text
    assert "seed0  finished, test loss 98.8, 1 min 0 s" in text
    assert "seed1  failed: RuntimeError: no luck" in text
    assert ("seed2: epoch 5 of 10" in text) == terminal
    assert ("2 of 4 jobs, 1 running, 1 failed, about 45 s left" in text) == terminal


def test_time_left_is_not_guessed(four):
    shown = progress.Progress(four)
    assert shown._time_left({job.name: {} for job in four}) == "time left unknown"


def test_nothing_is_left_of_jobs_that_finished_before_their_last_epoch(four):
    shown = progress.Progress(four)
    for job in four:
        status(job, "finished", 1)
    assert shown._time_left({job.name: job.folder.read_status() for job in four}) == "about 0 s left"


@pytest.mark.parametrize("seconds, text", [(0.4, "0 s"), (59.4, "59 s"), (320, "5 min 20 s"), (7500, "2 h 5 min")])
def test_durations(seconds, text):
    assert progress.duration(seconds) == text


def test_a_larger_model_costs_more(tmp_path):
    def cost(*overrides: str) -> float:
        composition = cli.Composition(compose_values(*overrides), [], "default", Path("unused"), True)
        return jobs.lay_out([composition], [], tmp_path)[0].cost

    assert cost("model.latent_dim=100") > 3 * cost("model.latent_dim=50") > 3 * cost("model.latent_dim=2")
    assert cost("trainer.max_epochs=20") == 2 * cost()
