"""The clock inside a contestant's process: it lets training go on for some steps, says how long they took, and waits."""

import json
import os
import sys
import time
from typing import Any, TextIO

import psutil
import torch
from torch import Tensor

_MOST_STEPS = 10_000  # that one command lets training go on for


class Clock:
    """Commands come on stdin, one JSON a line, answers go to stdout; what training prints goes to stderr.

    {"steps": n} goes on for n steps; {"epochs": 1} until the next epoch begins. The answer holds "seconds", "steps" and the
    mean "loss" of the steps, which is read from the device when the time has been taken. At the end of stdin the process ends.
    """

    def __init__(self) -> None:
        self._answers: TextIO = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        # One tensor: a scalar kept from each step would lie in the way of the next step's large ones.
        self._losses = torch.empty(_MOST_STEPS)
        self._steps = 0
        self._steps_left = 0
        self._epochs_left = 0
        self._more: dict[str, Any] = {}
        self._started = 0.0

    def begin(self) -> None:
        """Everything is ready for the first step."""
        self._wait()

    def step(self, loss: Tensor) -> None:
        """A step is done; `loss` is reconstruction + KL, a scalar, in nats per image."""
        self._losses[self._steps] = loss.detach()
        self._steps += 1
        self._steps_left -= 1
        if self._steps_left == 0:
            self._answer()

    def epoch(self) -> None:
        """An epoch begins, or the run ends."""
        self._epochs_left -= 1
        if self._epochs_left == 0:
            self._answer()

    def note(self, name: str) -> None:
        """How far the round is, to be told with the answer."""
        self._more[name] = time.perf_counter() - self._started

    def _answer(self) -> None:
        seconds = time.perf_counter() - self._started
        losses = self._losses[: self._steps].tolist()
        peak = psutil.Process().memory_info().rss
        answer = {"seconds": seconds, "steps": len(losses), "losses": losses, "bytes": peak} | self._more
        print(json.dumps(answer), file=self._answers)
        self._wait()

    def _wait(self) -> None:
        line = sys.stdin.readline()
        if not line:
            os._exit(0)  # whatever training would do at its end is not measured
        command = json.loads(line)
        self._steps, self._more = 0, {}
        self._steps_left, self._epochs_left = command.get("steps", 0), command.get("epochs", 0)
        self._started = time.perf_counter()
