"""An event loop in a thread of its own, for the coroutines of code that blocks.

Work is handed over as functions, not as coroutines: one that is cancelled before its turn then leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Any, TypeVar

from bentosync.blocking import new_loop

T = TypeVar("T")


class LoopThread:
    """Runs from the start until `close`. One thread uses it."""

    def __init__(self) -> None:
        self._loop = new_loop()
        self._tasks: dict[Future[Any], list[asyncio.Task[Any]]] = {}
        self._thread = Thread(target=self._loop.run_forever, name="bentosync-exchange", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """Start `work`; its result comes through the future."""
        task: list[asyncio.Task[Any]] = []
        future = asyncio.run_coroutine_threadsafe(_tracked(work, task), self._loop)
        self._tasks[future] = task
        future.add_done_callback(self._forget)
        return future

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`; if the wait is interrupted it is cancelled, and has ended when this raises."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            self.settle([future])
            raise

    def settle(self, futures: Sequence[Future[Any]]) -> None:
        """Cancel what is not done. When this returns, nothing uses a buffer that was lent to any of this work."""
        for future in futures:
            future.cancel()
        lists = [self._tasks.pop(future, []) for future in futures]
        asyncio.run_coroutine_threadsafe(_ended(lists), self._loop).result()

    def close(self) -> None:
        """End the loop and the thread. Idempotent."""
        if self._loop.is_closed():
            return
        self.settle(list(self._tasks))
        asyncio.run_coroutine_threadsafe(self._loop.shutdown_default_executor(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _forget(self, future: Future[Any]) -> None:
        # One that was cancelled counts as done at once, while its task still cleans up.
        if not future.cancelled():
            self._tasks.pop(future, None)


async def _tracked(work: Callable[[], Awaitable[T]], task: list[asyncio.Task[Any]]) -> T:
    current = asyncio.current_task()
    assert current is not None, "coroutines run in tasks"
    task.append(current)
    return await work()


async def _ended(lists: list[list[asyncio.Task[Any]]]) -> None:
    """Wait for tasks that were cancelled; those that never began are in no list."""
    if running := [task for tasks in lists for task in tasks if not task.done()]:
        await asyncio.wait(running)
