"""Sweeps as a person starts them: real jobs on digits, some of which fail in every way a job can."""

import importlib
import json
import re
import signal

import pytest
from sweep_command import SMALL, started, sweep, table, wait_for

from vaegan.runs import RunFolder
from vaegan.sweeping import processes


@pytest.mark.parametrize("name", [*processes._PRELOADED, processes._PRELOADED_TO_COMPILE])
def test_what_is_to_be_imported_before_the_jobs_can_be(name):
    """multiprocessing passes over what it cannot import without a word, and every job would pay for it."""
    importlib.import_module(name)


@pytest.mark.parametrize("launcher", ["local", "joblib"])
def test_what_happens_to_a_job_happens_to_it_alone(tmp_path, launcher):
    arguments = [*SMALL, "trainer.max_epochs=10", "seed=0,1,2,3,4,5", f"hydra/launcher={launcher}"]
    if launcher == "joblib":
        arguments.append("hydra.launcher.n_jobs=2")
    done = sweep(*arguments, cwd=tmp_path, script=True)
    folder = tmp_path / "outputs" / "seed"
    assert done.returncode == 1, done.stdout + done.stderr
    expected = {f"seed{n}": "finished" if n in (0, 5) else "failed" for n in range(6)}
    assert table(done.stdout) == expected
    assert "2 of 6 jobs finished" in done.stdout
    reasons = {
        1: "RuntimeError: raised by the test",
        2: "the job ended itself with sys.exit(0)",
        3: "its process was killed by SIGKILL",
        4: "its process ended with exit code 0 before the run was finished",
    }
    for number, reason in reasons.items():
        assert reason in RunFolder(folder / f"seed{number}").problem
        assert re.search(f"seed{number} .*{re.escape(reason)}", done.stdout)
    assert "Traceback" in json.loads((folder / "seed1" / "status.json").read_text())["error"]
    assert "Traceback" in (folder / "seed1" / "output.log").read_text()
    began = json.loads((folder / "seed3" / "status.json").read_text())
    assert 1 <= began["epoch"] < 10
    untouched = (folder / "seed0" / "metrics.csv").stat().st_mtime_ns

    # Started again, exactly the unfinished ones run, and the killed one goes on.
    (tmp_path / "mend").touch()
    again = sweep(*arguments, cwd=tmp_path, script=True)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "6 jobs in" in again.stdout
    assert "2 finished already, 4 to run, 1 of them from their last checkpoint" in again.stdout
    assert table(again.stdout) == dict.fromkeys(expected, "finished")
    assert (folder / "seed0" / "metrics.csv").stat().st_mtime_ns == untouched
    assert "(resumed)" in (folder / "seed3" / "output.log").read_text()

    # The job that was killed and went on is bitwise the one that was not.
    plain = sweep(*SMALL, "trainer.max_epochs=10", "seed=3", "hydra.sweep.dir=plain", cwd=tmp_path)
    assert plain.returncode == 0, plain.stdout + plain.stderr
    assert not plain.stderr
    [whole] = (tmp_path / "plain").glob("*/metrics.csv")
    assert whole.read_bytes() == (folder / "seed3" / "metrics.csv").read_bytes()


def test_a_changed_configuration_is_a_new_job_and_the_old_result_stays(tmp_path):
    first = sweep(*SMALL, "seed=0,1", cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    changed = sweep(*SMALL, "seed=0,1", "optimizer.vae.lr=0.002", cwd=tmp_path)
    assert changed.returncode == 0, changed.stdout + changed.stderr
    assert "0 finished already, 2 to run" in changed.stdout
    folders = sorted(path.parent.name for path in (tmp_path / "outputs" / "seed").glob("*/config.yaml"))
    assert len(folders) == 4
    assert [name for name in folders if not re.fullmatch(r"seed[01]-[0-9a-f]{6}", name)] == ["seed0", "seed1"]
    rates = {name: RunFolder(tmp_path / "outputs" / "seed" / name).read_config().optimizer.vae.lr for name in folders}
    assert all(rate == (0.001 if name in ("seed0", "seed1") else 0.002) for name, rate in rates.items())
    # Where it runs and what is logged makes no other run of it.
    elsewhere = sweep(*SMALL, "seed=0,1", "trainer.accelerator=auto", "logger.images_every_n_epochs=2", cwd=tmp_path)
    assert "2 finished already, 0 to run" in elsewhere.stdout


def test_jobs_are_written_down_before_the_first_starts_and_survive_the_death_of_the_sweep(tmp_path):
    status = tmp_path / "outputs" / "seed" / "seed0" / "status.json"
    with started(tmp_path, "trainer.max_epochs=3000", "seed=0,1,2"):
        wait_for(lambda: status.exists() and json.loads(status.read_text()).get("epoch"))
    jobs = json.loads((tmp_path / "outputs" / "seed" / "sweep.json").read_text())["jobs"]
    assert list(jobs) == ["seed0", "seed1", "seed2"]
    # Nobody is left to stop the jobs, so they stop themselves, writing how far they are.
    wait_for(lambda: json.loads(status.read_text())["state"] == "interrupted")


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_once_the_jobs_finish_writing_and_the_sweep_says_how_to_go_on(tmp_path, number, code):
    folder = RunFolder(tmp_path / "outputs" / "seed" / "seed0")
    with started(tmp_path, "trainer.max_epochs=3000", "seed=0,1,2", "hydra.launcher.jobs_at_once=1") as process:
        wait_for(lambda: folder.read_status().get("epoch"))
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == code, output + errors
    assert table(output) == {"seed0": "interrupted", "seed1": "waiting", "seed2": "waiting"}
    assert "go on       python -m vaegan.train -m data=digits" in output
    assert folder.state == "interrupted"
    assert folder.last.exists()
    assert "Traceback" not in errors


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_other_launchers_are_stopped_too(tmp_path, launcher):
    folder = RunFolder(tmp_path / "outputs" / "seed" / "seed0")
    more = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    with started(tmp_path, "trainer.max_epochs=3000", "seed=0,1", f"hydra/launcher={launcher}", *more) as process:
        wait_for(lambda: folder.read_status().get("epoch"))
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output + errors
    assert table(output)["seed0"] == "interrupted"
    assert folder.last.exists()


def test_a_folder_that_cannot_be_used_stops_no_other_job(tmp_path):
    folder = tmp_path / "a 'quoted' place"
    folder.mkdir()
    (folder / "seed1").touch()
    sweep_dir = r"hydra.sweep.dir='a \'quoted\' place'"
    done = sweep(*SMALL, "seed=0,1,2", sweep_dir, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert table(done.stdout) == {"seed0": "finished", "seed1": "waiting", "seed2": "finished"}
    assert "seed1 cannot be started" in done.stdout
    assert """python -m vaegan.report 'a '"'"'quoted'"'"' place'""" in done.stdout


def test_a_job_whose_end_was_not_written_down_keeps_its_numbers(tmp_path):
    first = sweep(*SMALL, "seed=0", cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    [status] = tmp_path.glob("outputs/*/*/status.json")
    before = json.loads(status.read_text())
    status.write_text(json.dumps(before | {"state": "running"}))
    again = sweep(*SMALL, "seed=0", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    after = json.loads(status.read_text())
    assert (after["state"], after["epoch"], after["metrics"]) == ("finished", 2, before["metrics"])


def test_two_sweeps_do_not_share_a_folder(tmp_path):
    with started(tmp_path, "trainer.max_epochs=3000", "seed=0,1"):
        wait_for(lambda: (tmp_path / "outputs" / "seed" / "seed0" / "status.json").exists())
        second = sweep(*SMALL, "seed=0,1", cwd=tmp_path)
    assert second.returncode == 2
    assert "outputs/seed is in use by another run" in second.stderr


def test_a_job_that_does_not_fit_is_not_run_and_the_others_are(tmp_path):
    done = sweep(*SMALL, "model.hidden_dim=16,9000000000", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert table(done.stdout) == {"hidden_dim16": "finished", "hidden_dim9000000000": "not run"}
    refused = RunFolder(tmp_path / "outputs" / "hidden_dim" / "hidden_dim9000000000")
    assert "GB are free" in refused.problem


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["+sweep=qick"], "sweep=qick does not exist; did you mean sweep=quick?"),
        (["+sweep=quick,paper"], "sweep must be one name; start one sweep after the other."),
        (["seed=0,1", "hydra.sweep.dir=/dev/null"], "/dev/null is a file, not a folder for a sweep"),
        (["+sweep=quick", "model.latent_dim=2,0"], "model.latent_dim must be a whole number >= 1"),
        (["seed=0,1", "train.resume=x"], "train.resume is for a single run"),
        (["seed=0,1", "hydra.launcher.jobs_at_once=0"], "hydra.launcher.jobs_at_once must be a whole number >= 1"),
        (["seed=0,1", "model.latentdim=3"], "model.latentdim is not an option; did you mean model.latent_dim?"),
        (["seed=0,'${oops}'"], "seed: Interpolation key 'oops' not found"),  # of the second job alone
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_written(tmp_path, arguments, sentence):
    done = sweep(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content, sentence",
    [
        (
            "hydra:\n  sweeper:\n    parms:\n      seed: 0,1\n",
            "hydra.sweeper.parms is not an option of a sweep; did you mean params",
        ),
        ("hydra:\n  sweeper:\n    params: [a, b]\n", "hydra.sweeper.params must be a group of `option: values`"),
        ("hydra:\n  sweeper:\n    params:\n      seed: [0, 1]\n", "write `seed: 0,1`"),
        ("hydra:\n  sweeper:\n    params:\n      model.latentdim: 0,1\n", "model.latentdim is not an option"),
        ("sede: 1\nhydra:\n  sweeper:\n    params:\n      seed: 0,1\n", "sede"),
    ],
)
def test_a_sweep_file_with_an_unknown_key_is_named(tmp_path, content, sentence):
    own = tmp_path / "own" / "sweep"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(f"# @package _global_\n{content}")
    done = sweep("--config-dir", "own", "+sweep=mine", cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own"]
