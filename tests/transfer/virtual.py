"""An event loop whose time passes only while nothing is ready: minutes of waiting take milliseconds.

`run(coroutine)` is `asyncio.run` on such a loop. Everything that takes its time from the loop (`asyncio.sleep`,
timeouts, `loop.time`) is virtual; work given to threads runs at once, in place, in no time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_THREAD_SECONDS_MAX = 10.0


class _Selector(selectors.SelectSelector):
    """Instead of waiting, lets time pass."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # Without a timer only another thread can wake the loop: the executor's end does, when the loop is closed.
        ready = super().select(_THREAD_SECONDS_MAX if timeout is None else 0)
        if not ready and timeout is None:
            raise RuntimeError("the loop would wait for ever")
        if not ready and timeout is not None and timeout > 0:
            self.now += timeout
        return ready


class _InPlace(ThreadPoolExecutor):
    """Runs what it is given at once."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **more: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **more))
        except BaseException as error:
            future.set_exception(error)
        return future


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its clock starts at 1000 s."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self.set_default_executor(_InPlace(1))

    def time(self) -> float:
        return self._virtual.now

    def work(self, seconds: float) -> None:
        """Let time pass while nothing else runs, as blocking work does."""
        self._virtual.now += seconds


class LoopClock:
    """The clock of `remote.retrying`, over the running loop."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)
