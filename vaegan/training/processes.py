"""The processes of a run on several devices: started, told to stop, and none left behind."""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from multiprocessing import connection, process

import torch
import torch.distributed as dist

from vaegan.errors import UserError
from vaegan.reporting import text
from vaegan.runs import Plan
from vaegan.training.device import find_device
from vaegan.training.parallel import Group
from vaegan.training.precision import settle

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SECONDS_TO_END = 10.0


def run_in_processes(function: Callable[..., None], plan: Plan) -> None:
    """Call `function(plan, group)` in one process a device, and wait for them.

    The first one writes the run folder and prints; it alone is told of SIGTERM and Ctrl-C, because the others follow it
    step by step. When one ends before its time the others are killed: they would wait for it for ever.

    Raises:
        UserError: there are not so many devices; what the first process raised; or that a process was killed.
        SystemExit: as the first process ended.
    """
    device = find_device(plan.config.trainer.accelerator, number=plan.config.trainer.devices)
    plan, _ = settle(plan, device)  # once for all: processes that measure for themselves could differ
    on_gpu = device.type == "cuda"
    context = multiprocessing.get_context("spawn")
    answer, answers = context.Pipe(duplex=False)
    received: list[int] = []
    with tempfile.TemporaryDirectory() as meeting_place:
        processes = [
            context.Process(target=_run, args=(function, plan, rank, on_gpu, f"{meeting_place}/store", answers))
            for rank in range(plan.config.trainer.devices)
        ]

        def pass_on(number: int, frame: object) -> None:
            received.append(number)
            if processes[0].is_alive():
                os.kill(processes[0].pid, number)

        before = {number: signal.signal(number, pass_on) for number in _SIGNALS}
        try:
            for each in processes:
                each.start()
            failed = _wait(processes)
            if failed is not None:
                processes[0].join(_SECONDS_TO_END)  # it writes what it has
        finally:
            for each in processes:
                if each.pid is not None:
                    each.kill()
                    each.join()
            for number, handler in before.items():
                signal.signal(number, handler)
            for log in plan.folder.path.glob("process*.log"):
                if log.stat().st_size == 0:
                    log.unlink()
    if failed is None:
        return
    if failed.exitcode < 0 and not received:
        sentence = (
            f"the process of device {processes.index(failed)} was killed by {signal.Signals(-failed.exitcode).name}; go on "
            f"with: {text.resume_command(plan)}"
        )
        plan.folder.write_status(plan.folder.read_status() | {"state": "failed", "error": sentence})
        raise UserError(sentence)
    if answer.poll():
        error = answer.recv()
        if isinstance(error, UserError):
            raise error
        print(error, file=sys.stderr)
    elif failed is not processes[0]:
        print(f"the process of device {processes.index(failed)} failed: see its log in {plan.folder}", file=sys.stderr)
    sys.exit(128 + received[0] if received else 1)


def _wait(processes: list[process.BaseProcess]) -> process.BaseProcess | None:
    """Until all have ended well, or the first has not; that one."""
    waiting = {each.sentinel: each for each in processes}
    while waiting:
        for sentinel in connection.wait(list(waiting)):
            each = waiting.pop(sentinel)
            each.join()
            if each.exitcode != 0:
                return each
    return None


def _run(
    function: Callable[..., None], plan: Plan, rank: int, on_gpu: bool, store: str, answers: connection.Connection
) -> None:
    """In the new process: meet the others, then call the function."""
    if os.name == "posix":
        os.setsid()  # Ctrl-C reaches the parent alone
    for number in _SIGNALS:
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    _end_with_parent()
    if rank > 0:
        log = os.open(plan.folder.path / f"process{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log, stream.fileno())

    size = plan.config.trainer.devices
    try:
        if on_gpu:
            torch.cuda.set_device(rank)
        else:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
            torch.set_num_threads(max(1, torch.get_num_threads() // size))
        # A file to meet at: torch's own server would listen on every network interface.
        dist.init_process_group("nccl" if on_gpu else "gloo", init_method=f"file://{store}", rank=rank, world_size=size)
        function(plan, Group(rank, size))
        dist.destroy_process_group()
    except Exception as error:
        is_mistake = isinstance(error, UserError)
        if rank == 0:
            answers.send(UserError(str(error)) if is_mistake else traceback.format_exc())
        elif not is_mistake:
            traceback.print_exc()
        sys.exit(2 if is_mistake else 1)


def _end_with_parent() -> None:
    """Should the parent be killed, nobody would stop this process."""

    def watch() -> None:
        connection.wait([process.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
