"""A job in a process of its own, so that whatever ends it ends nothing else.

The processes are forked from one that has imported torch and Lightning already (multiprocessing's "forkserver"), so the
imports are paid once a sweep and a further job costs a fraction of a second.
"""

import contextlib
import importlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import connection, process
from pathlib import Path

from vaegan import config
from vaegan.cli import Composition
from vaegan.errors import UserError
from vaegan.runs import ENDED, RunFolder
from vaegan.sweeping.jobs import is_small

# What a run imports only when it begins, or later: everything heavy, and what many small files make up.
_PRELOADED = [
    "vaegan.cli",  # without Hydra no composition can be unpickled
    "PIL.BmpImagePlugin",  # PIL imports these four with the first picture
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PpmImagePlugin",
    "pytorch_lightning",
    "pytorch_lightning.loggers",
    "safetensors.torch",
    "sklearn.datasets",  # for data=digits
    "tensorboard.plugins.hparams.metadata",
    "torch.utils.serialization.config",  # with the first checkpoint
    "torch.utils.tensorboard",
    "vaegan.data.module",
    "vaegan.reporting.plots",
    "vaegan.training.setup",
]
_PRELOADED_TO_COMPILE = "vaegan.sweeping.compiler"


class Process:
    """One job's process."""

    def __init__(self, job: str, composition: Composition, threads: int | None = None):
        """Start it.

        Args:
            job: "module:function" of what is done with the composition.
            composition: of the run; what it prints goes to output.log in its folder.
            threads: that torch computes with; None for torch's own choice.
        """
        self.folder = RunFolder(composition.run_folder)
        self.folder.path.mkdir(parents=True, exist_ok=True)
        # What the last attempt left is no answer of this one.
        self.folder.write_status(self.folder.read_status() | {"state": "waiting", "error": None})
        self._process = start(_run, job, composition, threads)
        self.sentinel = self._process.sentinel

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.kill(self._process.pid, number)

    def conclude(self, stopped: bool = False) -> str:
        """Wait for the end; the state it left. A process that ended without a word leaves how it ended.

        Args:
            stopped: it was told to stop, so its end is an interruption and no failure.
        """
        self._process.join()
        status = self.folder.read_status()
        if status.get("state") not in ENDED:
            state = "interrupted" if stopped else "failed"
            self.folder.write_status(status | {"state": state, "error": _how_it_ended(self._process.exitcode)})
        return self.folder.state

    def tell(self, reason: BaseException) -> None:
        """Tell it to write what it has and end, because the sweep was ended by `reason`."""
        self.send(signal.SIGINT if type(reason) is KeyboardInterrupt else signal.SIGTERM)


class RunJob:
    """What launchers such as joblib's call for a job: it runs in a process of its own there, and never raises."""

    def __init__(self, job: str):
        self.job = job

    def __call__(self, cfg: object) -> str:
        from hydra.core.hydra_config import HydraConfig

        hydra_config = HydraConfig.get()
        folder = Path(hydra_config.runtime.output_dir)
        composition = Composition.of(cfg, hydra_config, folder, in_sweep=True)
        checked = config.check(composition.values)
        import_ahead(checked.train.compile)
        # This process starts no others. (The child would look for joblib's start method, "loky", and not find it.)
        multiprocessing.set_start_method(_context().get_start_method(), force=True)
        threads = 1 if is_small(checked) else None  # others may be at work beside it
        running = Process(self.job, composition, threads)
        try:
            return running.conclude()
        except BaseException as reason:  # Ctrl-C, or SIGTERM of the sweep
            running.tell(reason)
            running.conclude(stopped=True)
            raise


def import_ahead(compiles: bool) -> None:
    """Start the process that others are forked from; if they compile their step, it has imported the compiler, too."""
    _context([_PRELOADED_TO_COMPILE] if compiles else [])


def start(function: Callable[..., None], *arguments: object) -> process.BaseProcess:
    """A new process that calls `function`, forked from one that has paid the imports."""
    new = _context().Process(target=function, args=arguments)
    new.start()
    return new


def _context(also_preloaded: Sequence[str] = ()) -> multiprocessing.context.BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():  # Windows: every job pays the imports
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_PRELOADED, *also_preloaded])  # looked at where the process isn't running yet
    if threading.current_thread() is threading.main_thread():
        # Ctrl-C while the imports go on would print their traceback; a job's process listens to it again (_run).
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        multiprocessing.forkserver.ensure_running()
        signal.signal(signal.SIGINT, before)
    return context


def _run(job: str, composition: Composition, threads: int | None) -> None:
    """In the new process: do the job; say in status.json what came of it if the job did not."""
    folder = RunFolder(composition.run_folder)
    if os.name == "posix":
        os.setsid()  # Ctrl-C reaches the sweep alone, which then tells its jobs
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _follow_parent()
    log = os.open(folder.path / "output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(log, stream.fileno())
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    module, _, function = job.partition(":")
    try:
        getattr(importlib.import_module(module), function)(composition)
    except UserError as error:
        begun = folder.metrics.exists()
        _note(folder, "failed" if begun else "not run", str(error))
        print(f"vaegan: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        _note(folder, "interrupted", "SIGINT")
        sys.exit(130)
    except SystemExit as end:
        _note(folder, "failed", f"{traceback.format_exc()}the job ended itself with sys.exit({end.code!r})")
        sys.exit(end.code or 1)
    except BaseException:
        _note(folder, "failed", traceback.format_exc())
        traceback.print_exc()
        sys.exit(1)


def _note(folder: RunFolder, state: str, error: str) -> None:
    """Keep the reason, unless the run itself has kept one."""
    status = folder.read_status()
    if status.get("state") not in ENDED:
        folder.write_status(status | {"state": state, "error": error})


def _follow_parent() -> None:
    """Stop like after SIGTERM if the sweep's process is killed: nobody would be left to stop this one."""
    parent = process.parent_process()

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    if parent is not None:
        threading.Thread(target=watch, name="parent watch", daemon=True).start()


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = " (the system does that when memory runs out)" if name == "SIGKILL" else ""
        return f"its process was killed by {name}{hint}"
    return f"its process ended with exit code {exit_code} before the run was finished"
