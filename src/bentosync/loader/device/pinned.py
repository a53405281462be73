"""The pinned memory of the process: one pool for all loads, because pinning is dear and the limit is the machine's.

Memory is pinned when a load first needs it, slot by slot, by the reader that needs it: readers share the work, and the
first bytes are read while the later slots are still being made. A slot is a registration of its own, far below the
256 MiB above which some drivers refuse. After a load that went well its slots stay for the next one; after one that did
not they are freed.

Nobody waits for memory here: two loads fit beside each other, and a third one makes do with pageable memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from bentosync.loader.device.backend import HostMemory, PinRefused

POOL_BYTES_MAX = 512 << 20
"""Of a process, whatever it loads."""


class PinnedPool:
    """At most `bytes_max` bytes. Every method may be called from any thread.

    Args:
        pin: Makes memory of a size; raises PinRefused.
        unpin: Frees what `pin` made.
        bytes_max: Of memory made by `pin` and not yet freed.
    """

    def __init__(
        self,
        pin: Callable[[int], HostMemory],
        unpin: Callable[[HostMemory], None],
        *,
        bytes_max: int = POOL_BYTES_MAX,
    ) -> None:
        self._pin = pin
        self._unpin = unpin
        self._bytes_max = bytes_max
        self._lock = threading.Lock()  # guards everything below
        self._idle: list[HostMemory] = []
        self._bytes = 0

    @property
    def size_bytes(self) -> int:
        """Pinned memory, used or idle."""
        return self._bytes

    def take(self, size: int) -> HostMemory:
        """Memory of `size` bytes that nobody else has. Raises PinRefused."""
        with self._lock:
            for index, memory in enumerate(self._idle):
                if len(memory.view) == size:
                    return self._idle.pop(index)
            surplus = self._make_room(size)
            if self._bytes + size > self._bytes_max:
                refused = self._bytes
            else:
                refused = None
                self._bytes += size
        self._free(surplus)
        if refused is not None:
            raise PinRefused(f"{refused >> 20} MiB are pinned for other loads already")
        try:
            return self._pin(size)
        except BaseException:
            with self._lock:
                self._bytes -= size
            raise

    def give(self, memory: HostMemory, *, keep: bool) -> None:
        """Take back what `take` gave, once nothing copies from it; `keep` it for the next load, or free it."""
        with self._lock:
            if keep:
                self._idle.append(memory)
                return
            self._bytes -= len(memory.view)
        self._unpin(memory)

    def _make_room(self, size: int) -> list[HostMemory]:
        """Idle memory of other sizes that has to go so that `size` bytes fit."""
        surplus: list[HostMemory] = []
        while self._idle and self._bytes + size > self._bytes_max:
            surplus.append(self._idle.pop())
            self._bytes -= len(surplus[-1].view)
        return surplus

    def _free(self, surplus: list[HostMemory]) -> None:
        for memory in surplus:
            self._unpin(memory)
