from __future__ import annotations

import threading

import pytest

from bentosync.loader.staging import RING_BYTES_MAX, Ring, Stopped
from tests.loader.fake import FakeDevice

SLOT = 4096


def ring(device: FakeDevice, slots: int = 3, warnings: list[str] | None = None) -> Ring:
    warn = (warnings if warnings is not None else []).append
    return Ring(device, slot_bytes=SLOT, slots=slots, pinned=True, warn=warn)


def test_slots_are_made_only_when_none_is_idle() -> None:
    under_test = ring(FakeDevice())
    for _ in range(5):
        under_test.give(under_test.take())
    assert under_test.size_bytes == SLOT
    held = [under_test.take(), under_test.take()]
    assert under_test.size_bytes == under_test.pinned_bytes == 2 * SLOT
    assert held[0].memory is not held[1].memory


def test_a_slot_whose_copy_is_pending_is_left_alone_while_the_ring_may_grow_and_waited_for_when_not() -> None:
    device = FakeDevice()
    device.attach()
    under_test = ring(device, slots=2)
    target = device.allocate(SLOT)
    first = under_test.take()
    first.memory.view[:4] = b"abcd"
    device.copy(target, 0, first.memory, 0, 4)
    under_test.give(first, device.record())
    second = under_test.take()
    assert second is not first
    assert device.copied == 0
    assert under_test.take() is first  # the ring is full: wait for the copy, then reuse
    assert device.copied == 1
    assert bytes(target.tensor[:4].numpy()) == b"abcd"


def test_a_closed_ring_gives_back_every_slot_that_was_given_to_it() -> None:
    for keep in (True, False):
        device = FakeDevice()
        under_test = ring(device)
        held = [under_test.take(), under_test.take()]
        under_test.give(held[0])
        under_test.close(keep=keep)
        assert [memory is held[1].memory for memory in device.hosts] == [True]
        assert device.kept == keep
        with pytest.raises(Stopped):
            under_test.take()


def test_a_full_ring_makes_takers_wait_until_a_slot_comes_back() -> None:
    under_test = ring(FakeDevice(), slots=1)
    held, taken = under_test.take(), []
    taker = threading.Thread(target=lambda: taken.append(under_test.take()))
    taker.start()
    taker.join(0.02)
    assert taker.is_alive()
    under_test.give(held)
    taker.join(2)
    assert taken == [held]


def test_stopping_wakes_who_waits() -> None:
    under_test, stopped = ring(FakeDevice(), slots=1), threading.Event()
    under_test.take()

    def take() -> None:
        with pytest.raises(Stopped):
            under_test.take()
        stopped.set()

    taker = threading.Thread(target=take)
    taker.start()
    under_test.stop()
    taker.join(2)
    assert stopped.is_set()


def test_a_ring_that_may_not_grow_makes_do_with_what_it_has() -> None:
    device, warnings = FakeDevice(fail={"host": 3}), []  # type: ignore[var-annotated]
    under_test = ring(device, slots=8, warnings=warnings)
    held = [under_test.take(), under_test.take()]
    returner = threading.Timer(0.02, lambda: under_test.give(held[0]))
    returner.start()
    assert under_test.take() is held[0]
    returner.join()
    assert under_test.pinned_bytes == 2 * SLOT
    assert warnings == []


def test_no_pinned_memory_at_all_means_pageable_slots_and_one_warning() -> None:
    device, warnings = FakeDevice(fail={"host": 1}), []  # type: ignore[var-annotated]
    under_test = ring(device, slots=3, warnings=warnings)
    slots = [under_test.take() for _ in range(3)]
    assert not any(slot.memory.pinned for slot in slots)
    assert (under_test.size_bytes, under_test.pinned_bytes) == (3 * SLOT, 0)
    assert len(warnings) == 1
    assert "RLIMIT_MEMLOCK" in warnings[0]


def test_a_ring_over_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="over"):
        Ring(FakeDevice(), slot_bytes=RING_BYTES_MAX, slots=2, pinned=True, warn=print)
