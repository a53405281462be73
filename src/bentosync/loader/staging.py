"""The ring of host slots that bytes pass through on their way to a device.

A slot is taken, filled, copied from, and given back with the event of that copy; whoever takes it next waits for the
event first, so no byte of a slot is overwritten while a copy still reads it. Slots are made when one is needed and
none is idle, by the reader that needs it: the cost of pinning (about 3 GB/s for one thread) is shared by the readers
and overlaps with the first reads, and a device that copies at once (the CPU) never needs more slots than there are
readers, so its slots stay in the cache of their core.

When pinning is refused the ring stays as small as it has become; when not even one slot could be pinned it is made
of pageable memory, with one warning.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bentosync.loader.device import Backend, Event, HostMemory, PinRefused

RING_BYTES_MAX = 512 << 20
"""Host memory a load may use for staging, whatever the size of the model."""


@dataclass(slots=True)
class Slot:
    """Host memory, the event of the copies that last read from it, and how many still have it (see `Ring.hold`)."""

    memory: HostMemory
    copied: Event | None = field(default=None)
    holders: int = 1


class Stopped(Exception):
    """The load was stopped while somebody waited."""


class Ring:
    """At most `slots` slots of `slot_bytes` bytes. Every method may be called from any thread."""

    def __init__(
        self, backend: Backend, *, slot_bytes: int, slots: int, pinned: bool, warn: Callable[[str], None]
    ) -> None:
        if slot_bytes * slots > RING_BYTES_MAX:
            raise ValueError(f"a ring of {slot_bytes * slots} bytes is over {RING_BYTES_MAX}")
        self._backend = backend
        self._slot_bytes = slot_bytes
        self._room = slots
        self._pinned = pinned
        self._warn = warn
        self._idle: deque[Slot] = deque()
        self._made = 0
        self._making = 0
        self._stopped = False
        self._closed = False
        self._keep = False
        self._changed = threading.Condition()

    @property
    def size_bytes(self) -> int:
        """Host memory in slots."""
        return self._made * self._slot_bytes

    @property
    def pinned_bytes(self) -> int:
        """The part of it that is pinned."""
        return self.size_bytes if self._pinned else 0

    def take(self) -> Slot:
        """A slot nobody reads from or writes to. Waits for one; raises Stopped when the ring is stopped."""
        while True:
            slot = self._idle_or_none()
            if slot is None:
                slot = self._make()
            if slot is not None:
                if slot.copied is not None:
                    slot.copied.synchronize()
                    slot.copied = None
                return slot

    def hold(self, slot: Slot) -> None:
        """One more who reads from a slot that was taken; each holder gives it back."""
        with self._changed:
            slot.holders += 1

    def give(self, slot: Slot, copied: Event | None = None) -> None:
        """Return a slot; `copied` is the event after the last copy that reads from it. The last holder frees it."""
        with self._changed:
            slot.copied = copied or slot.copied
            slot.holders -= 1
            if slot.holders:
                return
            slot.holders = 1
            if not self._closed:
                self._idle.append(slot)
                self._changed.notify()
                return
        if slot.copied is not None:
            slot.copied.synchronize()
        self._backend.release(slot.memory, keep=self._keep)

    def stop(self) -> None:
        """Wake everybody who waits for a slot."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close(self, *, keep: bool) -> None:
        """Give the memory of every idle slot back; `keep` it for the next load, or free it. No copy may be pending.

        A slot that somebody still holds goes back when he gives it.
        """
        with self._changed:
            self._stopped = True
            self._closed, self._keep = True, keep
            idle, self._idle = self._idle, deque()
        for slot in idle:
            self._backend.release(slot.memory, keep=keep)

    def _idle_or_none(self) -> Slot | None:
        """The longest idle slot, or None: then a place for a new one is reserved."""
        with self._changed:
            while True:
                if self._stopped:
                    raise Stopped
                grows = self._made + self._making < self._room
                if self._idle and (not grows or self._idle[0].copied is None or self._idle[0].copied.query()):
                    return self._idle.popleft()
                if grows:
                    self._making += 1
                    return None
                self._changed.wait()

    def _make(self) -> Slot | None:
        """A new slot in the reserved place; None when pinning was refused and an older slot has to do."""
        memory: HostMemory | None = None
        refusal: PinRefused | None = None
        try:
            memory = self._backend.host(self._slot_bytes, pinned=self._pinned)
        except PinRefused as error:
            refusal = error
        finally:
            with self._changed:
                self._making -= 1
                self._made += memory is not None
                warned = refusal is not None and self._shrink()
                self._changed.notify_all()
        if warned:
            self._warn(f"pinned memory was refused ({refusal}); staging through pageable memory, which is slower")
        return None if memory is None else Slot(memory)

    def _shrink(self) -> bool:
        """After a refusal: make do with the slots there are, or with pageable ones. True if this is the news."""
        if self._made or self._making:
            self._room = max(self._made, 1)
            return False
        news, self._pinned = self._pinned, False
        return news
