"""Ctrl-C and SIGTERM: the same orderly stop, told apart only by the exit status (130, 143).

The signal raises `Interrupted`, which is no `Exception`, so nothing swallows it; around an event loop `running` takes
over. A handler is installed for both signals, so the same holds as PID 1 of a container.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The user or the system asked to stop. `said` means that a farewell was already printed."""

    def __init__(self, signum: int, *, said: bool = False) -> None:
        super().__init__(signal.Signals(signum).name)
        self.status = 128 + signum
        self.said = said


def install() -> None:
    """Make both signals raise `Interrupted` in the main thread."""
    for signum in SIGNALS:
        signal.signal(signum, _raise)


def _raise(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signum)


def quit_now(status: int) -> None:
    """End the process at once, after flushing what was printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(status)
