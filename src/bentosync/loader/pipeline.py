"""Reads in many threads, proofs and copies right behind them, tensors in plan order as soon as they are there.

Each reader repeats: take a slot, take the next read, bring its bytes (read or fetch them, prove them, start their
copies: whoever makes the pipeline says how), give the slot back with the event of those copies. The slot comes before
the read, so the reads in hand are always the earliest ones not done and none of them can starve behind a later one. The
caller's thread iterates: a tensor is ready when every read up to its last one is done, and is handed out after the
caller's stream was ordered behind those copies.

Device blocks are allocated by the first reader that needs one, and readers run at most `ahead_bytes` of blocks ahead of
the caller: a caller that drops tensors as they come never holds the model twice.

A failure in any thread, a KeyboardInterrupt in the caller, or `close()` stops all of it the same way: readers finish
the read they are in (one slot), are joined, copies under way are waited for, and every block goes back to its
allocator.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from bentosync.errors import OutOfMemory
from bentosync.loader.device import Backend, Block, Event
from bentosync.loader.failure import let_go
from bentosync.loader.plan import Placement, Read, ReadPlan
from bentosync.loader.report import Stages
from bentosync.loader.staging import Ring, Slot, Stopped

_JOIN_SECONDS = 2.0
"""A reader stuck in the kernel (a network file system that hangs) is left behind after this; it is a daemon."""


@dataclass(slots=True)
class _Clock:
    """Seconds one reader spent in each stage."""

    read: float = 0.0
    check: float = 0.0
    copy: float = 0.0
    slot: float = 0.0
    room: float = 0.0
    _at: float = 0.0

    def start(self) -> None:
        self._at = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        setattr(self, stage, getattr(self, stage) + now - self._at)
        self._at = now


class Laps(Protocol):
    """Where a reader's time goes: `lap` books what passed since the last one."""

    def lap(self, stage: str) -> None:
        """Book it under `stage`, a name of `report.Stages`."""


class Bring(Protocol):
    """Gets the bytes of a read, proves them and starts their copies.

    `room` gives the memory of a block, waiting for it if need be. Returns the event after the copies. Memory of the
    slot that is needed longer than that is held (`Ring.hold`).
    """

    def __call__(self, read: Read, slot: Slot, room: Callable[[int], Block], clock: Laps) -> Event:
        """Called from readers' threads, for several reads at once."""


class Pipeline:
    """One run of a read plan. Iterate once, from one thread; then `close()` (also after a failure)."""

    def __init__(
        self,
        plan: ReadPlan,
        bring: Bring,
        backend: Backend,
        ring: Ring,
        *,
        readers: int,
        ahead_bytes: int,
        on_done: Callable[[int], None] | None = None,
    ) -> None:
        self._plan = plan
        self._bring = bring
        self._backend = backend
        self._ring = ring
        self._on_done = on_done
        self._ahead_bytes = ahead_bytes

        # One lock guards everything below. Nobody is woken for nothing: that would cost more than the look itself.
        lock = threading.Lock()
        self._arrived = threading.Condition(lock)  # as many reads are done as the caller waits for
        self._roomy = threading.Condition(lock)  # a block is there, or there may be room for one
        self._awaited = 0
        self._next = 0
        self._copied: list[Event | None] = [None] * len(plan.reads)
        self._done = 0  # reads done without a gap
        self._blocks: list[Block | None] = [None] * len(plan.blocks)
        self._allocating: set[int] = set()
        self._released = 0  # blocks before this one belong to the caller alone
        self._held_bytes = 0
        self._failure: BaseException | None = None
        self._stopped = False

        self._clocks = [_Clock() for _ in range(min(readers, len(plan.reads)))]
        self._threads = [
            threading.Thread(target=self._run, args=(clock,), name=f"bentosync-reader-{index}", daemon=True)
            for index, clock in enumerate(self._clocks)
        ]

    @property
    def readers(self) -> int:
        """Threads that read."""
        return len(self._threads)

    @property
    def stages(self) -> Stages:
        """Seconds per stage, summed over readers."""
        names = ("read", "check", "copy", "slot", "room")
        return Stages(**{name: sum(getattr(clock, name) for clock in self._clocks) for name in names})

    def __iter__(self) -> Iterator[tuple[Placement, Block | None]]:
        """Each placement with the block it lies in (None: it has no bytes), in plan order, when its bytes are there.

        `on_done`, if there is one, is called from the iterating thread with the number of reads done so far.
        """
        for thread in self._threads:
            thread.start()
        ready = 0
        for placement in self._plan.placements:
            if placement.block is None:
                yield placement, None
                continue
            self._release_before(placement.block)
            if placement.last_read >= ready:
                ready = self._await(ready, placement.last_read + 1)
            yield placement, self._blocks[placement.block]
        self._release_before(len(self._blocks))
        self._await(ready, len(self._plan.reads))

    def close(self) -> None:
        """Stop and join the readers, wait for copies under way, let go of every block. A second call does nothing."""
        complete = self._done == len(self._copied)
        self._stop(None)
        until = time.monotonic() + _JOIN_SECONDS
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))
        with suppress(Exception):  # a broken device has told its story through the failure
            self._backend.synchronize()
        self._ring.close(keep=complete)
        self._blocks.clear()

    # --- the caller's thread

    def _await(self, ready: int, needed: int) -> int:
        """Wait until the first `needed` reads are done, order the caller behind their copies; how many are done."""
        while ready < needed:
            with self._arrived:
                self._awaited = needed if self._on_done is None else ready + 1
                while self._failure is None and self._done < self._awaited:
                    self._arrived.wait()
                if self._failure is not None:
                    raise self._failure
                done = self._done
            for event in self._copied[ready:done]:
                if event is not None:
                    self._backend.wait_for(event)
            ready = done
            if self._on_done is not None:
                self._on_done(ready)
        return ready

    def _release_before(self, block: int) -> None:
        """The caller has every tensor of the blocks before `block`: they live as long as those tensors do."""
        if block <= self._released:
            return
        with self._roomy:
            for index in range(self._released, block):
                self._blocks[index] = None
                self._held_bytes -= self._plan.blocks[index]
            self._released = block
            self._roomy.notify_all()

    # --- the readers' threads

    def _run(self, clock: _Clock) -> None:
        slot: Slot | None = None
        try:
            self._backend.attach()
            clock.start()
            while True:
                slot = self._ring.take()
                clock.lap("slot")
                index = self._take_read()
                if index is None:
                    return
                copied = self._bring(self._plan.reads[index], slot, partial(self._block, read=index), clock)
                self._ring.give(slot, copied)
                slot = None
                self._mark_done(index, copied)
                del copied
                clock.lap("copy")
        except Stopped:
            return
        except BaseException as error:  # whatever it is, the caller's thread raises it
            let_go(error)
            self._stop(error)
        finally:
            if slot is not None:
                self._ring.give(slot)  # copies that still read from it are waited for when the pipeline closes

    def _take_read(self) -> int | None:
        with self._arrived:
            if self._stopped or self._next == len(self._plan.reads):
                return None
            self._next += 1
            return self._next - 1

    def _block(self, number: int, read: int) -> Block:
        """Block `number`, allocated if nobody has. The earliest read never waits for room, so somebody moves."""
        size = self._plan.blocks[number]
        with self._roomy:
            while True:
                if self._stopped:
                    raise Stopped
                block = self._blocks[number]
                if block is not None:
                    return block
                fits = read == self._done or self._held_bytes + size <= self._ahead_bytes
                if fits and number not in self._allocating:
                    break
                self._roomy.wait()
            self._held_bytes += size
            self._allocating.add(number)
        block = self._allocate(size)  # may take the driver milliseconds: the others go on meanwhile
        with self._roomy:
            if self._stopped:
                raise Stopped
            self._blocks[number] = block
            self._roomy.notify_all()
            return block

    def _allocate(self, size: int) -> Block:
        try:
            return self._backend.allocate(size)
        except OutOfMemory as error:
            need = sum(self._plan.blocks)
            raise OutOfMemory(f"{error.message}; this load needs {need} bytes in all", hint=error.hint) from None

    def _mark_done(self, index: int, copied: Event) -> None:
        with self._arrived:
            self._copied[index] = copied
            if index != self._done:
                return
            while self._done < len(self._copied) and self._copied[self._done] is not None:
                self._done += 1
            self._roomy.notify_all()  # who has the earliest read now needs no room
            if self._done >= self._awaited:
                self._arrived.notify_all()

    def _stop(self, failure: BaseException | None) -> None:
        with self._arrived:
            self._stopped = True
            if self._failure is None:
                self._failure = failure
            self._arrived.notify_all()
            self._roomy.notify_all()
        self._ring.stop()
