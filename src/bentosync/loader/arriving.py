"""Tensors as views of a version that is on its way into the store: no memory of their own, and no second copy.

Each is handed out when its blocks are proven and written, by this process (`arrival`) or by another one that is pulling
the same version (`companion`). It is what a mapped tensor of a local version is, with the same rules: it outlives the
load, writes stay private, and the file may be renamed (that is how it is published), replaced or unlinked, but not
truncated.

When the disk refuses, or nobody brings the rest, the load goes on through memory of its own (`streamed`); what the
disk has is read from there.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Protocol

from bentosync.errors import LocalIOError
from bentosync.loader import device
from bentosync.loader.device import Tensor
from bentosync.loader.distant import Distant
from bentosync.loader.mapped import map_privately
from bentosync.loader.proof import Proof
from bentosync.loader.report import Report, Stages
from bentosync.loader.selection import Wanted
from bentosync.loader.staging import Stopped
from bentosync.loader.streamed import streamed_tensors


class Source(Protocol):
    """Who says when bytes are there."""

    @property
    def fetched_bytes(self) -> int:
        """What came over the network for it."""

    def wait(self, number: int, begin: int, end: int, *, idle: Callable[[], None]) -> None:
        """Return when bytes [begin, end) of weight file `number` are proven and written; `idle` is called meanwhile.

        Raises:
            LocalIOError, Stopped: They will not be.
            BentoMLException: What the network says.
        """

    def descriptor(self, number: int) -> int:
        """Weight file `number`, of which something was waited for, open until the load is closed."""

    def keep(self) -> None:
        """All is here."""

    def settle(self) -> bool:
        """Wait until nothing is written any more; whether the version is in the store now."""


def arriving_tensors(
    distant: Distant, source: Source, wanted: Sequence[Wanted], began: float
) -> Generator[tuple[str, Tensor], None, Report]:
    """Tensors in file order, each when its bytes are proven. Close the generator to stop early."""
    dtype, timeline, observer = distant.options.dtype, distant.timeline, distant.options.on_event
    timeline.reach("planned", distant.began)
    opened = time.perf_counter()
    waited = 0.0
    maps = _Maps(distant, source)
    for index, (name, kind, shape, number, begin, end) in enumerate(wanted):
        start = time.perf_counter()
        try:
            source.wait(number, begin, end, idle=lambda: distant.mailbox.deliver(observer))
            memory = maps.of(number)
        except (LocalIOError, Stopped):
            distant.mailbox.deliver(observer)
            del maps
            return (yield from _without_the_disk(distant, source, wanted, index, began))
        waited += time.perf_counter() - start
        tensor = device.cast(device.mapped(memory, begin, end - begin, kind, shape), dtype)
        timeline.reach("first_byte", distant.began)
        timeline.reach("first_tensor", distant.began)
        distant.mailbox.deliver(observer)
        yield name, tensor
        del tensor
    timeline.reach("last_tensor", distant.began)
    now = time.perf_counter()
    source.keep()
    distant.finish()
    size = sum(want.size for want in wanted)
    return Report(
        label=distant.label,
        device="cpu",
        path="network-mapped",
        files=len({want.file for want in wanted}),
        tensors=len(wanted),
        bytes=size,
        read_bytes=distant.version.size,
        overread_bytes=distant.version.size - size,
        checked_bytes=distant.version.size,
        seconds=now - began,
        stages=Stages(open=opened - began, read=waited, hand_out=now - opened - waited),
        readers=0,
        ring_bytes=0,
        pinned_bytes=0,
        device_peak_bytes=0,
        verified=distant.strength,
        fetched_bytes=source.fetched_bytes,
        cache=distant.cache,
        timeline=timeline,
    )


class _Maps:
    """The weight files, each mapped when the first of it is there."""

    def __init__(self, distant: Distant, source: Source) -> None:
        self._distant = distant
        self._source = source
        self._maps: dict[int, mmap.mmap] = {}

    def of(self, number: int) -> mmap.mmap:
        """File `number`. Raises LocalIOError if it cannot be mapped."""
        memory = self._maps.get(number)
        if memory is None:
            memory = self._maps[number] = self._map(number)
        return memory

    def _map(self, number: int) -> mmap.mmap:
        entry = self._distant.version.entries[number]
        if entry.inline is None:
            return map_privately(self._source.descriptor(number), entry.size, entry.path)
        memory = device.anonymous(entry.size)
        memory[: entry.size] = entry.inline
        Proof(entry, self._distant.strength).check(memoryview(memory)[: entry.size], 0)
        return memory


def _without_the_disk(
    distant: Distant, source: Source, wanted: Sequence[Wanted], index: int, began: float
) -> Generator[tuple[str, Tensor], None, Report]:
    """The tensors from `index` on, in memory of their own."""
    distant.use_shelf(published=source.settle())
    report: Report = yield from streamed_tensors(distant, wanted[index:], began)
    size = sum(want.size for want in wanted)
    return replace(
        report,
        files=len({want.file for want in wanted}),
        tensors=len(wanted),
        bytes=size,
        fetched_bytes=report.fetched_bytes + source.fetched_bytes,
    )
