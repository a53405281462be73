"""A remote on an event loop of its own, for threads that wait for bytes.

How many requests are in flight at once is what `transfer.plateau` finds, whatever the number of threads that ask;
they get their turns in the order in which they asked.

The pipeline's readers are threads, the wire lives in one event loop; here they meet. `call` hands a coroutine to the
loop's thread and waits for it. Whatever ends that wait, the coroutine has ended before: memory that was lent to it is
the caller's again. `stop` cancels what is under way, so a reader never keeps a closing load waiting for a slow server.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from bentosync.blocking import new_loop
from bentosync.loader.staging import Stopped
from bentosync.remote.contract import Remote
from bentosync.transfer.meter import Meter
from bentosync.transfer.pace import Pace
from bentosync.transfer.plateau import chosen

Result = TypeVar("Result")
Opened = Callable[[], AbstractAsyncContextManager[Remote]]

_LEVEL_START = 16
"""A load is over in seconds: it begins with as many requests as one machine of a bucket serves well."""

_CLOSE_SECONDS = 2.0
"""A loop that is stuck (a name server that hangs) is left behind after this; its thread is a daemon."""


class Fetcher:
    """Runs coroutines on a remote. Any thread may call; `close()` it at the end."""

    def __init__(self, opened: Opened, meter: Meter | None = None) -> None:
        self.meter = meter or Meter()
        self._opened = opened
        self._ready: concurrent.futures.Future[Remote] = concurrent.futures.Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._main: asyncio.Task[Any] | None = None
        self._pace: Pace | None = None
        self._stopped = self._closed = False
        self._thread = threading.Thread(target=self._run, name="bentosync-network", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[Remote], Coroutine[Any, Any, Result]]) -> Result:
        """The result of `work`, or its exception. Raises `Stopped` if the fetcher was stopped meanwhile."""
        remote = self._ready.result()
        if self._stopped or self._loop is None:
            raise Stopped
        coroutine = work(remote)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop was closed in between
            coroutine.close()
            raise Stopped from None
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Stopped from None
        except BaseException:
            future.cancel()  # Ctrl-C in the waiting thread; does nothing to a future that is done
            raise
        finally:
            del future  # a future that failed holds the error, whose traceback holds this frame

    def begin(self, work: Callable[[Remote], Coroutine[Any, Any, None]]) -> concurrent.futures.Future[None]:
        """Start `work` and do not wait for it; `stop` and `close` cancel it, perhaps before its first step.

        Raises:
            Stopped: The fetcher was stopped before.
        """
        remote = self._ready.result()
        if self._stopped or self._loop is None:
            raise Stopped
        return asyncio.run_coroutine_threadsafe(work(remote), self._loop)

    def fetch(self, size: int, work: Callable[[Remote], Awaitable[None]]) -> None:
        """As `call`, for a `work` that moves `size` bytes and may be repeated: when it is its turn."""
        pace = self._pace
        assert pace is not None
        self.call(lambda remote: pace.send(size, lambda: work(remote)))

    def set_out(self, *, total_bytes: int, streams_max: int, unit_bytes: int) -> None:
        """Get ready to `fetch` so many bytes, with so many requests in flight at most."""
        started: concurrent.futures.Future[None] = concurrent.futures.Future()

        async def keep_pace() -> None:
            try:
                level = chosen(streams_max, unit_bytes, level_start=_LEVEL_START)
                self._pace = Pace(level, self.meter, total_bytes=total_bytes)
                async with self._pace.running():
                    started.set_result(None)
                    assert self._closing is not None
                    await self._closing.wait()
            except BaseException as error:
                if not started.done():
                    started.set_exception(error)
                raise

        if self._loop is None:
            raise Stopped
        asyncio.run_coroutine_threadsafe(keep_pace(), self._loop)
        started.result()

    def stop(self) -> None:
        """Cancel every call under way and refuse new ones, until `resume`. May be called again."""
        self._stopped = True
        self._soon(self._cancel)

    def resume(self) -> None:
        """Take calls again: those that were cancelled have been told so before any later one begins."""
        self._stopped = self._closed

    def close(self) -> None:
        """Stop for good, close the connections, end the thread. A second call does nothing."""
        self._stopped = self._closed = True
        self._soon(self._end)
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_SECONDS)

    def _soon(self, what: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(what)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # whoever calls first raises it
            if not self._ready.done():
                self._ready.set_exception(error)

    async def _serve(self) -> None:
        self._closing = asyncio.Event()
        self._main = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        async with self._opened() as remote:
            self._ready.set_result(remote)
            if not self._stopped:
                await self._closing.wait()
            others = self._cancel_all()
            if others:
                await asyncio.wait(others, timeout=_CLOSE_SECONDS)

    def _cancel(self) -> None:
        self._cancel_all()

    def _cancel_all(self) -> set[asyncio.Task[Any]]:
        others = asyncio.all_tasks(self._loop) - {self._main}
        for task in others:
            task.cancel()
        return others

    def _end(self) -> None:
        if self._closing is not None:
            self._closing.set()
