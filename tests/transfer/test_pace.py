from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bentosync.errors import NetworkError
from bentosync.transfer.meter import Meter
from bentosync.transfer.pace import Pace
from bentosync.transfer.plateau import Fixed, Plateau
from tests.transfer import virtual

PART = 16 << 20


def run(pace_of: Callable[[Meter], Pace], job: Callable[[Pace], Any]) -> Meter:
    meter = Meter()

    async def main() -> None:
        pace = pace_of(meter)
        async with pace.running():
            await job(pace)

    virtual.run(main())
    return meter


def test_no_more_calls_are_under_way_than_the_level_allows() -> None:
    under_way = most = 0

    async def call() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1)
        under_way -= 1

    async def job(pace: Pace) -> None:
        await asyncio.gather(*(pace.send(PART, call) for _ in range(40)))

    meter = run(lambda meter: Pace(Fixed(5), meter, total_bytes=0), job)
    assert (most, meter.requests, meter.level_most) == (5, 40, 5)


def test_more_are_under_way_where_more_bring_something() -> None:
    async def call() -> None:
        await asyncio.sleep(0.2)  # however many there are

    async def job(pace: Pace) -> None:
        await asyncio.gather(*(pace.send(PART, call) for _ in range(3000)))

    meter = run(lambda meter: Pace(Plateau(32, level_start=8, unit_bytes=PART), meter, total_bytes=0), job)
    assert meter.level_most == 32


def test_a_part_that_hangs_is_sent_again_once() -> None:
    hung = 0

    async def job(pace: Pace) -> None:
        nonlocal hung

        async def quick() -> str:
            await asyncio.sleep(0.5)
            return "quick"

        tries = 0

        async def hangs() -> str:
            nonlocal tries, hung
            tries += 1
            try:
                await asyncio.sleep(3600 if tries == 1 else 0.5)
            except asyncio.CancelledError:
                hung += 1
                raise
            return f"try {tries}"

        for _ in range(20):
            await pace.send(PART, quick)
        began = asyncio.get_running_loop().time()
        assert await pace.send(PART, hangs) == "try 2"
        assert asyncio.get_running_loop().time() - began < 4

    meter = run(lambda meter: Pace(Fixed(4), meter, total_bytes=100 * PART), job)
    assert (hung, meter.restarts, meter.hedged_bytes) == (1, 1, PART)


def test_what_is_sent_twice_is_a_twentieth_at_most() -> None:
    async def job(pace: Pace) -> None:
        late = 0

        async def call() -> None:
            nonlocal late
            late += 1
            await asyncio.sleep(0.5 if late <= 20 or late % 2 else 60)

        for _ in range(100):
            await pace.send(PART, call)

    meter = run(lambda meter: Pace(Fixed(4), meter, total_bytes=100 * PART), job)
    assert meter.restarts == 5


def test_an_error_of_a_call_is_the_callers_and_frees_its_place() -> None:
    async def fails() -> None:
        raise NetworkError("gone")

    async def job(pace: Pace) -> None:
        for _ in range(3):
            with pytest.raises(NetworkError):
                await pace.send(PART, fails)

        async def times_out() -> None:
            raise TimeoutError

        with pytest.raises(TimeoutError):
            await pace.send(PART, times_out)

    run(lambda meter: Pace(Fixed(1), meter, total_bytes=0), job)


def test_who_is_cancelled_while_waiting_takes_no_place_along() -> None:
    async def job(pace: Pace) -> None:
        async def call() -> None:
            await asyncio.sleep(1)

        async with asyncio.TaskGroup() as group:
            first = group.create_task(pace.send(PART, call))
            await asyncio.sleep(0.1)
            second = group.create_task(pace.send(PART, call))
            await asyncio.sleep(0.1)
            second.cancel()
            await first
            async with asyncio.timeout(2):
                await pace.send(PART, call)

    run(lambda meter: Pace(Fixed(1), meter, total_bytes=0), job)
