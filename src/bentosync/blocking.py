"""The blocking twins of coroutines: callable from scripts, threads and notebooks (inside a running loop)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import TypeVar

Result = TypeVar("Result")


def wait(coroutine: Coroutine[None, None, Result]) -> Result:
    """Run `coroutine` to its end and return its result.

    Inside a running event loop it runs on a loop of its own in another thread while this one waits. Ctrl-C cancels it
    and waits for its clean-up before `KeyboardInterrupt` is raised.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    return _Elsewhere(coroutine).join()


class _Elsewhere:
    """A coroutine that runs in a thread of its own."""

    def __init__(self, coroutine: Coroutine[None, None, Result]) -> None:
        self._coroutine = coroutine
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Result] | None = None
        self._outcome: list[Result | BaseException] = []
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="bentosync-blocking")
        self._thread.start()

    def join(self) -> Result:  # type: ignore[type-var]
        try:
            self._thread.join()
        except KeyboardInterrupt:
            if self._loop is not None and self._task is not None:
                self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join()
            raise
        outcome = self._outcome[0]
        if self._failed:
            assert isinstance(outcome, BaseException)
            raise outcome
        return outcome  # type: ignore[return-value]

    def _run(self) -> None:
        try:
            self._outcome.append(asyncio.run(self._watched()))
        except BaseException as error:
            self._failed = True
            self._outcome.append(error)

    async def _watched(self) -> Result:  # type: ignore[type-var]
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.ensure_future(self._coroutine)
        return await self._task
