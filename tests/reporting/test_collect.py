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
        (
            "metrics.csv",
            "epoch,step,train/loss,train/reconstruction,test/loss\n1,30,1,1,nan\n",
            "a value is not finite",
        ),
        (
            "metrics.csv",
            "epoch,step,train/loss,train/reconstruction,test/loss\n2,30,1,1,1\n",
            "its epochs are not 1, 2",
        ),
        ("metrics.csv", "step,test/loss\n30,1\n", "metrics.csv is damaged"),
        ("metrics.csv", "epoch,step,test/loss\n1,30,1\n", "metrics.csv lacks train/loss, train/reconstruction"),
        ("status.json", "[" * 100_000, "not finished"),
        ("status.json", "[1]", "not finished"),
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
    if named == "not finished":  # nothing says that it is
        assert runs["hurt"].state != "finished"
    else:
        assert runs["hurt"].state == "damaged"
        assert named in runs["hurt"].problem


def test_a_run_whose_metrics_were_cut_short_is_damaged_and_not_averaged_in(make_run, tmp_path):
    folder = make_run("cut", losses=(3.0, 2.0, 1.5))
    lines = folder.metrics.read_text().splitlines()
    for kept in ("\n".join(lines[:-1]) + "\n", "\n".join(lines)[:-3] + "\n"):
        folder.metrics.write_text(kept)
        [run] = collect(tmp_path / "sweep")
        assert run.state == "damaged"
        assert "metrics.csv" in run.problem


def test_the_same_run_twice_is_no_second_seed(make_run, tmp_path):
    for name in ("a", "b"):
        make_run(name, "seed=3")
    assert [(run.state, run.problem) for run in collect(tmp_path / "sweep")] == [
        ("finished", None),
        ("duplicate", "the same options and seed as a, which is counted"),
    ]


@pytest.mark.parametrize("name", ["/etc", "../../elsewhere", "..", "a/b", "x" * 5000, ""])
def test_a_job_cannot_name_another_folder(make_run, tmp_path, name):
    make_run("a")
    jobs = {"jobs": {name: {"experiment": "x", "overrides": [], "identity": {}}}}
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps(jobs))
    with pytest.raises(UserError, match="sweep.json is damaged"):
        collect(tmp_path / "sweep")


@pytest.mark.parametrize(
    "entry",
    [
        {"epoch_seconds": None},
        {"epoch_seconds": ["a"]},
        {"versions": []},
        {"device": {}},
        {"revision": 3},
        {"epoch": "x"},
    ],
)
def test_what_cannot_be_in_a_status_is_left_out(make_run, tmp_path, entry):
    make_run("a", **entry)
    [run] = collect(tmp_path / "sweep")
    assert run.is_finished
    assert not run.status.keys() & entry.keys()


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
