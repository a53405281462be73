from __future__ import annotations

import asyncio

import pytest

from bentosync.errors import NetworkError
from bentosync.transfer import engine


def test_no_more_jobs_run_at_once_than_there_are_workers() -> None:
    running = 0
    most = 0

    async def job() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    asyncio.run(engine.drain([job] * 50, workers=4))
    assert most == 4


def test_the_first_failure_cancels_the_rest_and_is_raised_as_itself() -> None:
    cancelled = []

    async def fails() -> None:
        await asyncio.sleep(0)
        raise NetworkError("gone")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(NetworkError, match="gone"):
        asyncio.run(engine.drain([waits, fails, waits], workers=3))
    assert cancelled == [True, True]


def test_jobs_behind_a_failure_never_start() -> None:
    started = []

    async def fails() -> None:
        raise NetworkError("gone")

    async def job() -> None:
        started.append(True)

    with pytest.raises(NetworkError):
        asyncio.run(engine.drain([fails, job, job], workers=1))
    assert started == []


def test_a_companion_ends_with_the_body() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    async def main() -> str:
        async with engine.alongside(forever()):
            await asyncio.sleep(0)
        return "done"

    assert asyncio.run(main()) == "done"


def test_a_companion_that_fails_cancels_the_body() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise NetworkError("lost")

    async def main() -> None:
        async with engine.alongside(fails()):
            await asyncio.Event().wait()

    with pytest.raises(NetworkError, match="lost"):
        asyncio.run(main())
