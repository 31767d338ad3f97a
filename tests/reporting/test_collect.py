import json

import pytest

from vaegan.errors import UserError
from vaegan.reporting.collect import collect
from vaegan.runs import SweepFolder


def by_name(path):
    return {run.name: run for run in collect(path)}


def test_every_run_and_every_missing_one_is_found(make_run, tmp_path):
    make_run("a", "seed=1", losses=(9.0, 8.0, 7.0))
    make_run("b", state="failed", error="Traceback\n  ...\nRuntimeError: out of luck\n")
    make_run("c", state="running")  # nobody holds it: its process is gone
    SweepFolder(tmp_path / "sweep").write_jobs(
        {name: {"experiment": "x", "overrides": [], "identity": {"seed": 0}} for name in ("a", "never")}
    )
    runs = by_name(tmp_path / "sweep")
    assert {name: run.state for name, run in runs.items()} == {
        "a": "finished", "b": "failed", "c": "failed", "never": "waiting",
    }  # fmt: skip
    assert [row["test/loss"] for row in runs["a"].rows] == [9.0, 8.0, 7.0]
    assert (runs["a"].seed, runs["a"].options["data.name"]) == (1, "mnist")
    assert runs["b"].problem == "RuntimeError: out of luck"
    assert runs["never"].problem == "never started"
    assert "died" in runs["c"].problem


@pytest.mark.parametrize(
    "file, content, named",
    [
        ("metrics.csv", None, "metrics.csv is missing"),
        ("metrics.csv", "epoch,step,test/loss\n1,30\n", "metrics.csv is damaged"),
        ("metrics.csv", "epoch,step,test/loss\n1,30,many\n", "metrics.csv is damaged"),
        ("metrics.csv", "", "metrics.csv is missing or empty"),
        ("config.yaml", None, "config.yaml"),
        ("config.yaml", "seed: [", "config.yaml is not readable YAML"),
        ("config.yaml", "seed: 1\n", "data is missing"),
        ("status.json", None, "status.json is missing"),
    ],
)
def test_a_damaged_run_is_named_with_its_file(make_run, tmp_path, file, content, named):
    make_run("whole")
    folder = make_run("hurt")
    if content is None:
        (folder.path / file).unlink()
    else:
        (folder.path / file).write_text(content)
    runs = by_name(tmp_path / "sweep")
    assert runs["whole"].state == "finished"
    assert runs["hurt"].state == "damaged"
    assert named in runs["hurt"].problem


def test_a_single_run_and_a_folder_of_sweeps_can_be_read(make_run, tmp_path):
    folder = make_run("a")
    assert list(by_name(folder.path)) == ["a"]
    assert list(by_name(tmp_path)) == ["sweep/a"]


@pytest.mark.parametrize("there", [True, False])
def test_no_runs_is_one_sentence(tmp_path, there):
    path = tmp_path / "empty"
    if there:
        path.mkdir()
    with pytest.raises(UserError, match="empty (holds no runs|is not a folder)"):
        collect(path)


def test_a_damaged_list_of_jobs_is_named(make_run, tmp_path):
    make_run("a")
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps({"jobs": {"a": 3}}))
    with pytest.raises(UserError, match="sweep.json is damaged .* delete it"):
        collect(tmp_path / "sweep")


def test_a_run_that_is_being_trained_is_running(make_run, tmp_path):
    folder = make_run("a", state="running")
    with folder.in_use():
        [run] = collect(tmp_path / "sweep")
    assert (run.state, run.problem) == ("running", None)
