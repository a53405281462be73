"""Between coroutines and code that blocks, in both directions, with nothing left running behind.

`wait` is for callers that block (scripts, threads, notebooks inside a running loop), `in_thread` for coroutines that
must not.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


def wait(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run `coroutine` to its end and return its result.

    Inside a running event loop it runs on a loop of its own in another thread while this one waits. Ctrl-C cancels it
    and waits for its clean-up before `KeyboardInterrupt` is raised.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(coroutine)
    job = _Cancellable(coroutine)
    with ThreadPoolExecutor(1, thread_name_prefix="bentosync") as thread:
        future = thread.submit(lambda: _run(job.run()))
        try:
            return future.result()
        except KeyboardInterrupt:
            job.cancel()
            raise


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop: uvloop's where that is installed, which saves a tenth of what a small request costs."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(coroutine)


async def in_thread(call: Callable[..., Result], *args: object, **more: object) -> Result:
    """Run `call` in a worker thread; a cancelled caller still waits for its end.

    So that buffers, file descriptors and locks lent to the thread are free again when this returns or raises.
    """
    return await in_stoppable_thread(_nothing, call, *args, **more)


async def in_stoppable_thread(
    stop: Callable[[], object], call: Callable[..., Result], *args: object, **more: object
) -> Result:
    """As `in_thread`; a caller that is cancelled calls `stop`, upon which `call` ends sooner."""
    work = asyncio.get_running_loop().run_in_executor(None, functools.partial(call, *args, **more))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop()
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        if not work.cancelled():
            work.exception()
        raise


def _nothing() -> None:
    return None


class _Cancellable(Generic[Result]):
    """A coroutine that another thread can cancel once it runs."""

    def __init__(self, coroutine: Coroutine[Any, Any, Result]) -> None:
        self._coroutine = coroutine
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    async def run(self) -> Result:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        return await self._coroutine

    def cancel(self) -> None:
        if self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
