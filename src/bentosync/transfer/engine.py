"""The one place where transfers run side by side.

Work is a stream of coroutine functions; a fixed number of workers takes from it. The first failure cancels the rest
and is raised as itself, so callers see `NetworkError`, never an `ExceptionGroup`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import TypeAlias

Work: TypeAlias = Callable[[], Awaitable[None]]


@asynccontextmanager
async def group() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose failure is the first real error inside it, not a group."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as failures:
        error = _first(failures)
        raise error from error.__cause__  # `from None` would erase the cause that the error came with


@asynccontextmanager
async def alongside(companion: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run `companion` while the body runs: its failure cancels the body, the body's end cancels it."""
    async with group() as tasks:
        task = tasks.create_task(companion)
        yield
        task.cancel()


async def drain(work: Iterable[Work], *, workers: int) -> None:
    """Run everything in `work`, at most `workers` at a time, in order of the iterable."""
    queue = iter(work)
    async with group() as tasks:
        for _ in range(workers):
            tasks.create_task(_worker(queue))


async def _worker(queue: Iterator[Work]) -> None:
    for job in queue:
        await job()


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that came first; the others are most often its echoes."""
    error = failures.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
