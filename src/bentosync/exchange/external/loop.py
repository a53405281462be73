"""An event loop in a thread of its own, for the coroutines of code that blocks.

Work is handed over as functions, not as coroutines: one that is cancelled before its turn then leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any, TypeVar

from bentosync.blocking import new_loop

T = TypeVar("T")


class LoopThread:
    """Runs from the start until `close`. One thread uses it."""

    def __init__(self) -> None:
        self._loop = new_loop()
        self._running: set[asyncio.Task[Any]] = set()
        self._thread = Thread(target=self._loop.run_forever, name="bentosync-exchange", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """Start `work`; its result comes through the future."""
        return asyncio.run_coroutine_threadsafe(self._tracked(work), self._loop)

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`; if the wait is interrupted it is cancelled, and has ended when this raises."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            self.settle([future])
            raise

    def settle(self, futures: list[Future[Any]]) -> None:
        """Cancel what is not done. When this returns, nothing uses a buffer that was lent to any work."""
        for future in futures:
            future.cancel()
        asyncio.run_coroutine_threadsafe(self._quiet(), self._loop).result()

    def close(self) -> None:
        """End the loop and the thread. Idempotent."""
        if self._loop.is_closed():
            return
        self.settle([])
        asyncio.run_coroutine_threadsafe(self._loop.shutdown_default_executor(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _tracked(self, work: Callable[[], Awaitable[T]]) -> T:
        task = asyncio.current_task()
        assert task is not None, "coroutines run in tasks"
        self._running.add(task)
        try:
            return await work()
        finally:
            self._running.discard(task)

    async def _quiet(self) -> None:
        while running := set(self._running):
            for task in running:
                task.cancel()
            await asyncio.wait(running)
