"""The launchers for clusters, on this machine: each runs the jobs through the same wrapper. (joblib's: test_sweeps.py.)"""

import pytest
from sweep_command import SMALL, sweep, table

from vaegan.runs import RunFolder


@pytest.mark.parametrize("launcher", ["submitit_local", "ray"])
def test_jobs_run_and_fail_alone(tmp_path, launcher):
    done = sweep(*SMALL, "seed=0,1", f"hydra/launcher={launcher}", cwd=tmp_path, script=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert table(done.stdout) == {"seed0": "finished", "seed1": "failed"}
    folder = tmp_path / "outputs" / "seed"
    assert RunFolder(folder / "seed1").problem == "RuntimeError: raised by the test"
    assert RunFolder(folder / "seed0").read_status()["device"] == "cpu, 1 thread"
    again = sweep(*SMALL, "seed=0,1", cwd=tmp_path)
    assert "1 finished already, 1 to run" in again.stdout
    assert again.returncode == 0
