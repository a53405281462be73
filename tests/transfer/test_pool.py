from __future__ import annotations

import asyncio

from bentosync.transfer.pool import BufferPool


def test_a_pool_never_holds_more_than_its_memory() -> None:
    async def main() -> set[int]:
        pool = BufferPool(1 << 16, 4 << 16)
        addresses = set()

        async def use() -> None:
            async with pool.lease() as buffer:
                addresses.add(id(buffer.obj))
                await asyncio.sleep(0)

        await asyncio.gather(*(use() for _ in range(100)))
        return addresses

    assert len(asyncio.run(main())) == 4


def test_a_pool_smaller_than_one_buffer_still_has_one() -> None:
    assert BufferPool(1 << 20, 1).buffers_max == 1


def test_a_buffer_goes_back_when_its_owner_fails() -> None:
    async def main() -> None:
        pool = BufferPool(1 << 16, 1 << 16)
        try:
            async with pool.lease():
                raise ValueError
        except ValueError:
            pass
        async with asyncio.timeout(1), pool.lease():
            pass

    asyncio.run(main())


def test_the_warmest_buffer_goes_out_first() -> None:
    async def main() -> bool:
        pool = BufferPool(1 << 16, 2 << 16)
        first, second = await pool.take(), await pool.take()
        pool.give(first)
        pool.give(second)
        return await pool.take() is second

    assert asyncio.run(main())
