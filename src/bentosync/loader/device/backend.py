"""The narrow waist of the loader: what a device must do.

The rules, which the tests' fake device checks:

- `allocate` gives memory of the framework's own allocator where that counts and limits it (CUDA), 256-aligned, and
  orders later copies after whatever the caller's stream still does with recycled memory.
- `copy` may return before the bytes have moved: the source stays untouched until an event recorded after it is done.
- `wait_for` orders the caller's stream after an event: only then may a tensor be handed out.
- A reader's thread calls `attach` before anything else; views are made by the caller's thread.
- `host` memory goes back by `release` once nothing copies from it any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bentosync.loader.device.block import Block
from bentosync.loader.device.framework import Tensor

ALIGN_BYTES = 256


class PinRefused(Exception):
    """There is no (more) pinned memory: RLIMIT_MEMLOCK, a container's limit, the driver, or other loads that use it."""


@dataclass(frozen=True, slots=True, eq=False)
class HostMemory:
    """Page-aligned host memory: `view` for readers, `tensor` (uint8, the same bytes) for copies."""

    view: memoryview
    tensor: Tensor
    pinned: bool


class Event(Protocol):
    """A point in the order of copies."""

    def query(self) -> bool:
        """Whether every copy before it is done."""

    def synchronize(self) -> None:
        """Wait until they are."""


class Backend(Protocol):
    """One device, for one load. See the module's rules."""

    name: str

    def attach(self) -> None:
        """Make the calling thread, which belongs to this load, one that works for this device."""

    def allocate(self, size: int) -> Block:
        """`size` bytes of device memory. Raises OutOfMemory, naming need and free."""

    def host(self, size: int, *, pinned: bool) -> HostMemory:
        """Host memory for staging. Raises PinRefused when pinned memory was asked for and is refused."""

    def release(self, memory: HostMemory, *, keep: bool) -> None:
        """Take host memory back; `keep` it for the next load of this process, or free it now."""

    def copy(self, target: Block, target_offset: int, source: HostMemory, source_offset: int, size: int) -> None:
        """Start copying `size` bytes from host to device memory."""

    def record(self) -> Event:
        """An event after every copy so far."""

    def wait_for(self, event: Event) -> None:
        """Order the caller's current stream after `event`."""

    def synchronize(self) -> None:
        """Wait for every copy so far."""

    def peak_bytes(self) -> int:
        """Most device memory that this load held at once, or an upper bound of it."""
