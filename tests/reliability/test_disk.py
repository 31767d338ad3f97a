"""A disk that fills up, a folder that may not be written, a folder that is gone."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from runs_compared import assert_same_training
from sweep_command import wait_for

from vaegan.runs import RunFolder
from vaegan.sealed import load_checkpoint

RUN = ["data=digits", "data.batch_size=100", "trainer.accelerator=cpu", "logger.images_every_n_epochs=1000"]
RUN += ["model.latent_dim=8", "trainer.max_epochs=1"]


def train(*arguments: str, cwd: Path, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "vaegan.train", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, **options)


def one_sentence(done: subprocess.CompletedProcess) -> bool:
    return done.returncode == 2 and len(done.stderr.splitlines()) == 1 and done.stderr.startswith("vaegan: ")


def test_a_disk_that_fills_up(run_digits, small_disk, scenario, trials, tmp_path):
    """Filled up to a random rest while the run goes on: the checkpoint is whole, and the run goes on once there is room."""
    with scenario("6 Disk full: the old checkpoint stays whole, one sentence") as t:
        whole = run_digits(*RUN, "trainer.max_epochs=3", folder="whole")
        for trial in range(trials(1, 20)):
            run = run_digits(*RUN, folder=f"{small_disk}/run{trial}")
            before = load_checkpoint(run.last)["global_step"]
            rest = 170_000 * trial + 4096
            free = shutil.disk_usage(small_disk).free
            filler = small_disk / "filler"
            filler.write_bytes(bytes(max(0, free - rest)))
            done = train(f"train.resume={run}", "trainer.max_epochs=3", cwd=tmp_path)
            kept = load_checkpoint(run.last)["global_step"]
            filler.unlink()
            if done.returncode != 0:  # else the rest was enough
                said = (
                    "can no longer be written (No space left on device)" in done.stderr
                    or "cannot be used (No space" in done.stderr
                )
                t.trial(one_sentence(done) and said and kept >= before, f"rest {rest}: {done.returncode} {done.stderr}")
                assert not list(run.path.rglob("*.part"))
                run_digits(f"train.resume='{run}'", "trainer.max_epochs=3")
            assert_same_training(whole, run)
            shutil.rmtree(run.path)


@pytest.mark.skipif(os.name != "posix", reason="a limit of POSIX systems")
def test_a_file_that_may_not_grow(run_digits, scenario, trials):
    """The system's limit on a file's size, as a quota acts: the checkpoint cannot be written, smaller files can."""
    with scenario("6 Disk full: a limit on a file's size") as t:
        for limit in (100_000, 2_500_000, 500_000, 5_000, 50_000)[: trials(1, 5)]:
            run = run_digits(*RUN, folder=str(limit))
            before = run.last.read_bytes()
            done = train(
                f"train.resume={run}", "trainer.max_epochs=2", cwd=run.path.parent,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),  # noqa: B023
            )  # fmt: skip
            t.trial(one_sentence(done) and run.last.read_bytes() == before, f"{limit}: {done.returncode} {done.stderr}")
            assert "File too large" in done.stderr


def test_a_folder_that_may_not_be_written(run_digits, scenario, tmp_path):
    with scenario("6 Read-only folder: one sentence, nothing changed") as t:
        run = run_digits(*RUN)
        before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
        with read_only(run.path):
            done = train(f"train.resume={run}", "trainer.max_epochs=2", cwd=tmp_path)
            t.trial(one_sentence(done), f"{done.returncode} {done.stderr}")
            t.trial({path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before)
            done = train(*RUN, f"hydra.run.dir={run}/deeper", cwd=tmp_path)
            t.trial(one_sentence(done), f"{done.returncode} {done.stderr}")


class read_only:
    """The folder may not be written by anybody: root ignores permissions, but not a read-only mount."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> None:
        if os.geteuid() != 0:
            for path in (self.folder, *self.folder.rglob("*")):
                path.chmod(0o555 if path.is_dir() else 0o444)
        elif subprocess.run(["mount", "--bind", self.folder, self.folder], capture_output=True).returncode:
            pytest.skip("root, and no file system can be mounted here")
        else:
            subprocess.run(["mount", "-o", "remount,bind,ro", self.folder], check=True)

    def __exit__(self, *_: object) -> None:
        if os.geteuid() != 0:
            for path in (self.folder, *self.folder.rglob("*")):
                path.chmod(0o777)
        else:
            subprocess.run(["umount", "--lazy", self.folder], check=True)


def test_a_folder_deleted_under_the_run(scenario, trials, tmp_path):
    with scenario("6 Folder deleted under the run: one sentence") as t:
        for trial in range(trials(1, 10)):
            run = RunFolder(tmp_path / f"run{trial}")
            command = [sys.executable, "-m", "vaegan.train", *RUN, "trainer.max_epochs=1000", f"hydra.run.dir={run}"]
            command.append(f"logger.tensorboard={trial % 2 == 0}")
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                wait_for(lambda: run.read_status().get("epoch"))  # noqa: B023
                run.path.rename(
                    tmp_path / f"gone{trial}"
                )  # all at once: rm -r may lose a race against what is being written
                _, errors = process.communicate(timeout=60)
            sentence = "was deleted while the run was at work" in errors and len(errors.splitlines()) == 1
            t.trial(process.returncode == 2 and sentence and not run.path.exists(), f"{process.returncode} {errors}")
