from __future__ import annotations

import itertools

import pytest

from bentosync.loader.sizing import sizing
from bentosync.loader.staging import RING_BYTES_MAX

ALL = list(itertools.product([False, True], [False, True], [None, "full", "strong"], [1, 2, 16, 192]))


@pytest.mark.parametrize(("to_device", "direct", "strength", "cpus"), ALL)
def test_every_load_has_a_ring_within_the_limit_and_a_slot_for_each_reader(to_device, direct, strength, cpus) -> None:  # type: ignore[no-untyped-def]
    sizes = sizing(to_device=to_device, direct=direct, strength=strength, cpus=cpus)
    assert 1 <= sizes.readers <= sizes.slots
    assert sizes.slots * sizes.slot_bytes <= RING_BYTES_MAX
    assert sizes.slot_bytes % sizes.unit_bytes == 0
    assert sizes.ahead_bytes >= sizes.block_bytes


def test_two_loads_to_a_device_fit_into_the_processs_pinned_memory() -> None:
    for direct, strength, cpus in itertools.product([False, True], [None, "full", "strong"], [1, 192]):
        sizes = sizing(to_device=True, direct=direct, strength=strength, cpus=cpus)  # type: ignore[arg-type]
        assert 2 * sizes.slots * sizes.slot_bytes <= RING_BYTES_MAX


def test_what_is_proven_on_the_cpu_is_read_in_pieces_that_stay_in_its_cache() -> None:
    assert sizing(to_device=False, direct=False, strength="full", cpus=2).slot_bytes == 1 << 20
    assert sizing(to_device=False, direct=False, strength=None, cpus=2).slot_bytes > 1 << 20


def test_on_the_cpu_readers_are_never_short_of_a_block_and_large_tensors_have_room_for_two() -> None:
    for cpus in (1, 2, 16, 192):
        sizes = sizing(to_device=False, direct=False, strength=None, cpus=cpus)
        assert sizes.ahead_bytes > sizes.readers * sizes.block_bytes
        assert sizes.ahead_of([sizes.block_bytes], kept=False) == sizes.ahead_bytes
    assert sizing(to_device=False, direct=False, strength=None, cpus=2).ahead_of([1, 70 << 20], kept=False) == 140 << 20
    assert sizing(to_device=False, direct=False, strength=None, cpus=2).ahead_of([10 << 30], kept=False) == 256 << 20
    assert sizing(to_device=False, direct=False, strength=None, cpus=2).ahead_of([1], kept=True) == 256 << 20


def test_what_a_disk_has_under_way_fits_twice_into_the_room_ahead() -> None:
    sizes = sizing(to_device=False, direct=True, strength=None, cpus=2)
    assert sizes.ahead_bytes == 2 * sizes.readers * sizes.slot_bytes
