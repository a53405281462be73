"""Work in the loop's thread ends before its buffers are used again."""

from __future__ import annotations

import asyncio
import threading

import pytest

from bentosync.exchange.external.ahead import RANGE_BYTES, in_order
from bentosync.exchange.external.loop import LoopThread


def test_when_settled_nothing_runs_any_more_not_even_a_clean_up() -> None:
    loop = LoopThread()
    begun, cleaned = threading.Event(), threading.Event()

    async def stubborn() -> None:
        try:
            begun.set()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)
            cleaned.set()

    futures = [loop.submit(stubborn), loop.submit(stubborn)]
    begun.wait(5)
    loop.settle(futures)
    assert cleaned.is_set()
    loop.close()
    loop.close()
    assert "bentosync-exchange" not in {thread.name for thread in threading.enumerate()}


def test_work_that_was_cancelled_before_its_turn_leaves_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    loop = LoopThread()

    async def never() -> None:
        await asyncio.sleep(60)

    for _ in range(20):
        loop.settle([loop.submit(never)])
    loop.close()
    assert not recwarn.list


def test_ranges_come_in_order_and_at_most_so_many_are_under_way() -> None:
    loop = LoopThread()
    running = most = 0
    settled: list[int] = []

    async def fetch(start: int, length: int) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (3 - start // RANGE_BYTES % 3))
        running -= 1
        return start.to_bytes(8, "big") + length.to_bytes(8, "big")

    size = 7 * RANGE_BYTES + 5
    pieces = list(
        in_order(
            lambda start, length: loop.submit(lambda: fetch(start, length)), size, most=3,
            settle=lambda futures: settled.append(len(futures)),
        )
    )  # fmt: skip
    assert [int.from_bytes(piece[:8], "big") for piece in pieces] == list(range(0, size, RANGE_BYTES))
    assert sum(int.from_bytes(piece[8:], "big") for piece in pieces) == size
    assert most <= 3
    assert settled == [0]
    loop.close()
