"""How many readers, and how much staging memory. Pure: machine facts in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bentosync.loader.proof import Strength, unit_bytes

_DEVICE_SLOT_BYTES = 16 << 20
"""A copy to a GPU costs about 10 µs to start: 3 % of the 0.3 ms these bytes need on PCIe 5."""

_DEVICE_SLOTS = 16
"""256 MiB: deeper rings gained 1.5 % from 2 to 4 slots a reader in published measurements, and pinning is dear."""

_HOST_SLOT_BYTES = 1 << 20
"""On the CPU what is read and then proven by one core should still be in that core's cache."""

_LANDING_BYTES = 4 << 20
"""What is not proven lands in its block at once. The kernel is as fast in larger and in smaller reads; these are large
enough that threads seldom wait for each other."""

_DIRECT_SLOT_BYTES = 8 << 20
"""Disks want large reads: nothing is gained above this with several in flight."""

_READERS_MAX = 12
_DIRECT_READERS = 8

_DEVICE_BLOCK_BYTES = 256 << 20
"""Few calls to the driver: each takes up to milliseconds."""

_HOST_BLOCK_BYTES = 8 << 20
"""On the CPU a block is one system call; small ones are free, and used again, while they are still in its cache."""

_AHEAD_BLOCKS = 4
_HOST_AHEAD_BYTES_MAX = 256 << 20

BLOCK_PER_TENSOR = 1
"""As `block_bytes`: a block is full with its first tensor, which then has memory of its own."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """Reader threads, slots, bytes a slot, and the unit reads are rounded to.

    `block_bytes`: a device block takes tensors until it holds this much; a view keeps its block alive, so larger blocks
    free later and smaller ones cost more calls. `ahead_bytes`: blocks that readers may fill before the caller has taken
    what came earlier.
    """

    readers: int
    slots: int
    slot_bytes: int
    unit_bytes: int
    block_bytes: int = _DEVICE_BLOCK_BYTES
    ahead_bytes: int = _AHEAD_BLOCKS * _DEVICE_BLOCK_BYTES

    def ahead_of(self, blocks: Sequence[int], *, kept: bool) -> int:
        """`ahead_bytes`, or room for two of the `blocks` (bytes each): tensors may be larger than a block should be.

        Else the readers of one large tensor would wait for each other at its end. Where everything is `kept` there is
        nothing to be had from keeping readers back.
        """
        wanted = _HOST_AHEAD_BYTES_MAX if kept else 2 * max(blocks, default=0)
        return max(self.ahead_bytes, min(wanted, _HOST_AHEAD_BYTES_MAX))


def sizing(*, to_device: bool, direct: bool, strength: Strength | None, cpus: int) -> Sizing:
    """Numbers for one load.

    Args:
        to_device: Slots are copied from asynchronously, so there are more of them than readers.
        direct: Some file is read past the page cache: readers wait for the disk, not for the CPU.
        strength: The digest that is checked, whose unit reads must not cut.
        cpus: CPUs this process may run on.
    """
    readers = _DIRECT_READERS if direct else min(_READERS_MAX, max(1, cpus))
    host_bytes = _DIRECT_SLOT_BYTES if direct else _HOST_SLOT_BYTES if strength else _LANDING_BYTES
    slot_bytes = _DEVICE_SLOT_BYTES if to_device else host_bytes
    block_bytes = _DEVICE_BLOCK_BYTES if to_device else _HOST_BLOCK_BYTES
    unit = unit_bytes(strength or "full")
    return Sizing(
        readers=readers,
        slots=max(_DEVICE_SLOTS, readers) if to_device else readers,
        slot_bytes=max(slot_bytes, unit),
        unit_bytes=unit,
        block_bytes=block_bytes,
        ahead_bytes=_AHEAD_BLOCKS * block_bytes if to_device else _host_ahead_bytes(readers, host_bytes, direct=direct),
    )


def _host_ahead_bytes(readers: int, read_bytes: int, *, direct: bool) -> int:
    """No more than keeps every reader busy.

    Making pages costs four times what reading into them does, so a caller who drops tensors as they come is served
    best by a few blocks that are used again and again. Disks answer out of order: there twice what is under way.
    """
    return 2 * readers * read_bytes if direct else (readers + 1) * _HOST_BLOCK_BYTES
