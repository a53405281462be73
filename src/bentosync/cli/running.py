"""An operation in an event loop of its own, that Ctrl-C and SIGTERM stop in an orderly way.

The first signal says goodbye at once (the user sees that the key was heard), cancels the operation, which flushes its
state, and gives it `GRACE_SECONDS`: what is on disk survives even a kill, so a thread deep in a hash is not waited
for. A second signal quits on the spot.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

from bentosync.blocking import new_loop
from bentosync.cli.interrupt import SIGNALS, Interrupted, quit_now
from bentosync.transfer.engine import alongside

T = TypeVar("T")

GRACE_SECONDS = 0.8
TICK_SECONDS = 0.5


async def ticking(operation: Coroutine[Any, Any, T], tick: Callable[[], None]) -> T:
    """Await `operation` while calling `tick` twice a second."""

    async def keep_ticking() -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            tick()

    async with alongside(keep_ticking()):
        return await operation


def run(operation: Coroutine[Any, Any, T], farewell: Callable[[int], None]) -> T:
    """Run `operation` in an event loop of its own.

    A signal calls `farewell` with the exit status, cancels, and raises `Interrupted`.
    """
    stop = _Stop(farewell)
    before = {signum: signal.signal(signum, stop.signalled) for signum in SIGNALS}
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(stop.watch(operation))
    finally:
        stop.settle()
        for signum, handler in before.items():
            signal.signal(signum, handler)


class _Stop:
    """One pending stop request: from the signal handler to the task that is cancelled."""

    def __init__(self, farewell: Callable[[int], None]) -> None:
        self._farewell = farewell
        self._signum: int | None = None
        self._deadline: threading.Timer | None = None
        self._wake: Callable[[int], object] | None = None

    async def watch(self, operation: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        assert task is not None

        def stop(status: int) -> None:
            self._farewell(status)
            task.cancel()

        # A handler may run between any two bytecodes, in the middle of a write to stderr too: so it only leaves a
        # note, and the loop says the farewell.
        self._wake = lambda status: loop.call_soon_threadsafe(stop, status)
        try:
            return await operation
        except BaseException:
            if self._signum is not None:
                raise Interrupted(self._signum, said=True) from None
            raise

    def signalled(self, signum: int, frame: FrameType | None) -> None:
        if self._signum is not None or self._wake is None:
            quit_now(128 + signum)
            return
        self._signum = signum
        self._deadline = threading.Timer(GRACE_SECONDS, quit_now, (128 + signum,))
        self._deadline.daemon = True
        self._deadline.start()
        self._wake(128 + signum)

    def settle(self) -> None:
        """The loop is closed: nobody is waited for any more."""
        if self._deadline is not None:
            self._deadline.cancel()
