"""The process's pool of pinned memory, with memory that is not pinned in place of the driver's."""

from __future__ import annotations

import threading

import pytest

from bentosync.loader.device import HostMemory, PinRefused, pageable
from bentosync.loader.device.pinned import POOL_BYTES_MAX, PinnedPool

SLOT = 4096


class Driver:
    """Counts what is pinned; refuses above `room` bytes."""

    def __init__(self, room: int = 1 << 40) -> None:
        self.room = room
        self.pinned: list[HostMemory] = []
        self.most = 0

    def pin(self, size: int) -> HostMemory:
        if sum(len(memory.view) for memory in self.pinned) + size > self.room:
            raise PinRefused("RLIMIT_MEMLOCK")
        self.pinned.append(pageable(size))
        self.most = max(self.most, len(self.pinned))
        return self.pinned[-1]

    def unpin(self, memory: HostMemory) -> None:
        self.pinned.remove(memory)


def pool(driver: Driver, slots: int = 4) -> PinnedPool:
    return PinnedPool(driver.pin, driver.unpin, bytes_max=slots * SLOT)


def test_what_a_load_gives_back_the_next_one_gets_without_pinning_again() -> None:
    driver = Driver()
    under_test = pool(driver)
    first = under_test.take(SLOT)
    under_test.give(first, keep=True)
    assert under_test.take(SLOT) is first
    assert len(driver.pinned) == 1


def test_what_a_failed_load_gives_back_is_freed() -> None:
    driver = Driver()
    under_test = pool(driver)
    under_test.give(under_test.take(SLOT), keep=False)
    assert driver.pinned == []
    assert under_test.size_bytes == 0


def test_two_takers_never_hold_the_same_memory() -> None:
    under_test = pool(Driver())
    assert under_test.take(SLOT) is not under_test.take(SLOT)


def test_all_loads_together_stay_below_the_limit_and_the_next_is_refused_not_made_to_wait() -> None:
    driver = Driver()
    under_test = pool(driver, slots=2)
    under_test.take(SLOT), under_test.take(SLOT)
    with pytest.raises(PinRefused, match="other loads"):
        under_test.take(SLOT)
    assert driver.most == 2


def test_idle_memory_of_another_size_makes_room() -> None:
    driver = Driver()
    under_test = pool(driver, slots=2)
    under_test.give(under_test.take(SLOT), keep=True)
    assert len(under_test.take(2 * SLOT).view) == 2 * SLOT
    assert len(driver.pinned) == 1


def test_a_refusal_of_the_driver_leaves_the_count_as_it_was() -> None:
    driver = Driver(room=SLOT)
    under_test = pool(driver)
    held = under_test.take(SLOT)
    with pytest.raises(PinRefused, match="RLIMIT_MEMLOCK"):
        under_test.take(SLOT)
    assert under_test.size_bytes == SLOT
    under_test.give(held, keep=True)
    assert under_test.take(SLOT) is held


def test_many_threads_keep_the_limit_and_lose_nothing() -> None:
    driver = Driver()
    under_test = pool(driver, slots=3)
    refused = []

    def take_and_give() -> None:
        for turn in range(200):
            try:
                memory = under_test.take(SLOT)
            except PinRefused:
                refused.append(turn)
                continue
            under_test.give(memory, keep=turn % 3 != 0)

    threads = [threading.Thread(target=take_and_give) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert driver.most <= 3
    assert under_test.size_bytes == len(driver.pinned) * SLOT


def test_the_limit_is_what_the_documents_say() -> None:
    assert POOL_BYTES_MAX == 512 << 20
