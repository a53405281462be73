from __future__ import annotations

import asyncio
import gc
import random
import threading
from pathlib import Path

import pytest

from bentosync.transfer.pool import BufferPool, shared_pool
from bentosync.transfer.room import Room, shared_streams
from bentosync.wire.rate import shared_limiter
from tests.transfer import virtual


class Crowd:
    """How many are inside, and how many there were at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *failure: object) -> None:
        with self._lock:
            self.now -= 1


def test_operations_of_several_threads_fill_a_room_and_never_more() -> None:
    room, crowd = Room(3), Crowd()

    async def visit() -> None:
        for _ in range(20):
            async with room.held(1):
                with crowd:
                    await asyncio.sleep(0)

    async def operation() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(visit())

    threads = [threading.Thread(target=asyncio.run, args=[operation()]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crowd.most == 3
    assert room.taken == 0


def test_who_is_cancelled_while_he_waits_leaves_his_room_to_the_next() -> None:
    async def run() -> None:
        room, draw = Room(2), random.Random(4)

        async def visit() -> None:
            async with room.held(draw.choice([1, 2])):
                await asyncio.sleep(0)

        for _ in range(50):
            tasks = [asyncio.ensure_future(visit()) for _ in range(8)]
            for _ in range(draw.randrange(6)):
                await asyncio.sleep(0)
            for task in draw.sample(tasks, 4):
                task.cancel()
            async with asyncio.timeout(5):
                await asyncio.wait(tasks)
            assert room.taken == 0

    asyncio.run(run())


def test_a_loop_that_ended_while_one_of_its_tasks_waited_takes_nothing_along() -> None:
    room = Room(1)

    async def take() -> None:
        await room.take(1)

    asyncio.run(take())
    loop = asyncio.new_event_loop()
    waiter = loop.create_task(take())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    room.give(1)
    assert room.taken == 0
    asyncio.run(take())
    waiter._log_destroy_pending = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("shared", [shared_pool, shared_streams, shared_limiter])
def test_who_was_given_the_same_bound_shares_it_and_who_was_given_another_does_not(shared: object) -> None:
    assert callable(shared)
    mine = shared(123_456)
    assert shared(123_456) is mine
    assert shared(123_457) is not mine


def test_the_memory_of_a_pool_goes_with_its_last_operation() -> None:
    async def operation() -> BufferPool:
        pool = shared_pool(1 << 20)
        async with pool.lease(1 << 16):
            pass
        return pool

    pool = asyncio.run(operation())
    assert pool.held_bytes == 1 << 16
    del pool
    gc.collect()
    assert shared_pool(1 << 20).held_bytes == 0


def test_two_transfers_with_the_same_limit_of_the_rate_take_as_long_as_one_of_both() -> None:
    rate = 1 << 20

    async def transfer() -> None:
        limiter = shared_limiter(rate)
        for _ in range(200):
            await limiter.passed(rate // 100)

    async def both() -> float:
        began = asyncio.get_running_loop().time()
        await asyncio.gather(transfer(), transfer())
        return asyncio.get_running_loop().time() - began

    assert virtual.run(both()) == pytest.approx(4.0, abs=0.15)


def test_two_pulls_at_once_have_as_many_requests_in_flight_as_one_may_have(tmp_path: Path) -> None:
    """Through `download` itself: the room is asked for where requests are made."""
    from bentosync.manifest.values import BLOCK_BYTES
    from bentosync.transfer import download as module
    from tests.transfer.test_download import Scene

    crowd, jobs = Crowd(), 3

    class Counted:
        """A remote that counts its readers."""

        def __init__(self, inner: object) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

        async def read_range(self, *args: object, **more: object) -> object:
            with crowd:
                await asyncio.sleep(0.001)
                return await self._inner.read_range(*args, **more)  # type: ignore[attr-defined]

    async def pull(scene: Scene) -> None:
        from bentosync.remote.open import open_remote
        from bentosync.settings import RemoteSettings, TransferSettings
        from bentosync.store.partial import Partial

        remote = open_remote(RemoteSettings(url=scene.root.as_uri()), TransferSettings())
        partial = Partial(scene.partial_root, scene.manifest)
        partial.prepare(b"document", strong=False)
        try:
            await module.download(
                Counted(remote),  # type: ignore[arg-type]
                [module.Target(f"files/{file.entry.path}", file) for file in partial.files],
                jobs=jobs, memory_bytes=1 << 27, range_bytes=BLOCK_BYTES, strong=False, tally=scene.tally,
            )  # fmt: skip
        finally:
            partial.close()
            await remote.aclose()

    async def both() -> None:
        scenes = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            scenes.append(Scene(tmp_path / name))
        await asyncio.gather(*map(pull, scenes))

    asyncio.run(both())
    assert crowd.most == jobs
