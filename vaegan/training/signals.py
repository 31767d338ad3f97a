"""SIGTERM and Ctrl-C: noticed at once, acted upon where the run can be gone on with exactly."""

import signal
import threading
from types import FrameType
from typing import Any

_STOPPING = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """The run was told to stop by `signal`, and has written what it needs to go on."""

    def __init__(self, number: signal.Signals):
        super().__init__(number.name)
        self.signal = number


class Signals:
    """Until `wait` the first signal raises Stopped where it arrives; from then on it only sets `received`.

    Whoever reads `received` has the checkpoint written and raises Stopped. A second Ctrl-C does not wait for that.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._waiting = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread listen
            self._before = {number: signal.signal(number, self._receive) for number in _STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self) -> None:
        """Let the run reach a point where it can be gone on with. (Lightning has put its own handlers in between.)"""
        self._waiting = True
        for number in self._before:
            signal.signal(number, self._receive)

    def act_at_once(self) -> None:
        """The reverse of `wait`. Raises Stopped if a signal has come meanwhile."""
        self._waiting = False
        self.raise_received()

    def raise_received(self) -> None:
        """Raises Stopped if a signal has come."""
        if self.received is not None:
            raise Stopped(self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        is_second = self.received is not None
        self.received = self.received or signal.Signals(number)
        if not self._waiting or (is_second and number == signal.SIGINT):
            raise Stopped(self.received)
