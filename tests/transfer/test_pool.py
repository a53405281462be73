from __future__ import annotations

import asyncio
import random

import pytest

from bentosync.transfer.pool import BufferPool

KIB = 1 << 10


async def test_a_pool_never_holds_more_than_its_memory_whatever_the_sizes() -> None:
    pool = BufferPool(256 * KIB)
    draw = random.Random(1)
    leased = most = 0

    async def use(size: int) -> None:
        nonlocal leased, most
        async with pool.lease(size) as buffer:
            assert len(buffer) == size
            leased += size
            most = max(most, leased)
            assert pool.held_bytes <= 256 * KIB
            await asyncio.sleep(0)
            leased -= size

    async with asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(use(draw.choice([16, 32, 128, 256]) * KIB))
    assert most == 256 * KIB


async def test_buffers_are_used_again() -> None:
    pool = BufferPool(256 * KIB)
    addresses = set()
    for _ in range(100):
        async with pool.lease(64 * KIB) as buffer:
            addresses.add(id(buffer.obj))
    assert len(addresses) == 1


def test_a_pool_smaller_than_one_buffer_still_has_one() -> None:
    assert BufferPool(1).count(1 << 20) == 1


async def test_a_buffer_larger_than_the_memory_is_alone() -> None:
    pool = BufferPool(64 * KIB)
    async with pool.lease(256 * KIB):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await pool.take(1 * KIB)
    async with asyncio.timeout(1), pool.lease(1 * KIB):
        pass


async def test_a_buffer_goes_back_when_its_owner_fails() -> None:
    pool = BufferPool(64 * KIB)
    with pytest.raises(ValueError, match="owner"):
        async with pool.lease(64 * KIB):
            raise ValueError("owner")
    async with asyncio.timeout(1), pool.lease(64 * KIB):
        pass


async def test_the_warmest_buffer_goes_out_first() -> None:
    pool = BufferPool(128 * KIB)
    first, second = await pool.take(64 * KIB), await pool.take(64 * KIB)
    pool.give(first)
    pool.give(second)
    assert await pool.take(64 * KIB) is second


async def test_a_large_buffer_is_not_overtaken_by_small_ones() -> None:
    pool = BufferPool(64 * KIB)
    order: list[int] = []

    async def use(size: int) -> None:
        async with pool.lease(size):
            order.append(size)
            await asyncio.sleep(0)

    async with pool.lease(16 * KIB), asyncio.TaskGroup() as group:
        large = group.create_task(use(64 * KIB))
        await asyncio.sleep(0)
        small = group.create_task(use(1 * KIB))
        await asyncio.sleep(0)
        assert not large.done()
        assert not small.done()
        group.create_task(_give_up(large, small))
    assert order == []


async def _give_up(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()


async def test_who_stops_waiting_takes_nothing_along() -> None:
    pool = BufferPool(64 * KIB)
    draw = random.Random(2)
    held = [await pool.take(64 * KIB)]

    async def wait() -> None:
        held.append(await pool.take(64 * KIB))

    tasks = [asyncio.ensure_future(wait()) for _ in range(20)]
    await asyncio.sleep(0)
    while len(tasks) > 1:
        tasks.pop(draw.randrange(len(tasks))).cancel()
        if draw.random() < 0.3 and held:
            pool.give(held.pop())
        await asyncio.sleep(0)
    while held:
        pool.give(held.pop())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    async with asyncio.timeout(1), pool.lease(64 * KIB):
        pass
