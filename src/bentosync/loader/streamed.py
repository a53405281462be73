"""Tensors from a remote, through the same pipeline as from a disk: fetched, proven, copied, handed out as views.

Every reader of the pipeline has one read in hand; how many of those are under way at once is what the network gives
(`fetcher`). Reads are in file order, so tensors become ready in file order; the first and the last are small (`ramp`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial

from bentosync.loader.courier import Courier
from bentosync.loader.delivery import delivered, progress, reported
from bentosync.loader.device import Tensor
from bentosync.loader.distant import Distant
from bentosync.loader.pipeline import Pipeline
from bentosync.loader.plan import Extent, ReadPlan, plan_reads
from bentosync.loader.proof import unit_bytes
from bentosync.loader.ramp import ramped
from bentosync.loader.report import Report
from bentosync.loader.selection import Wanted
from bentosync.loader.sizing import BLOCK_PER_TENSOR, Sizing
from bentosync.loader.staging import RING_BYTES_MAX, Ring

_DEVICE_READ_BYTES = 16 << 20
"""As for local loads: a copy to a GPU costs about 10 us to start."""
_HOST_READ_BYTES = 8 << 20
"""A request costs about 1 ms of CPU and a round trip of silence on its connection; above this neither shows."""
_HELD_SLOTS = 8
"""Slots that copies and the tee may hold while every reader has one."""


def shape(*, jobs: int, unit: int, to_device: bool) -> Sizing:
    """As many reads at once as the transfer settings say, in reads as large as the ring allows. Pure."""
    most = RING_BYTES_MAX // unit
    readers = max(1, min(jobs, most - _HELD_SLOTS))
    slots = readers + _HELD_SLOTS
    wanted = max(unit, _DEVICE_READ_BYTES if to_device else _HOST_READ_BYTES)
    slot_bytes = min(wanted, RING_BYTES_MAX // slots // unit * unit)
    return Sizing(readers, slots, slot_bytes, unit)


def streamed_tensors(
    distant: Distant, wanted: Sequence[Wanted], began: float
) -> Generator[tuple[str, Tensor], None, Report]:
    """Tensors in file order, each when its bytes are on the device. Close the generator to stop early."""
    asked, backend = distant.options, distant.backend
    distant.begin()
    sizes = shape(
        jobs=distant.settings.transfer.streams_max, unit=unit_bytes(distant.strength), to_device=backend.name != "cpu"
    )
    plan = ramped(
        plan_reads(
            wanted,
            [Extent(entry.size, header.data_offset) for entry, header in
             zip(distant.version.entries, distant.version.headers, strict=True)],
            slot_bytes=sizes.slot_bytes,
            unit_bytes=sizes.unit_bytes,
            block_bytes=BLOCK_PER_TENSOR if asked.own else sizes.block_bytes,
            prove_headers=distant.whole,
        ),
        step_bytes=sizes.unit_bytes,
        edge_bytes=2 * sizes.readers * sizes.unit_bytes,
    )  # fmt: skip
    ring = Ring(backend, slot_bytes=sizes.slot_bytes, slots=sizes.slots, pinned=backend.name != "cpu", warn=asked.warn)
    courier = Courier(distant, ring)
    pipeline = Pipeline(
        plan,
        courier.bring,
        backend,
        ring,
        readers=sizes.readers,
        ahead_bytes=sizes.ahead_bytes,
        on_done=_progress(distant, plan),
    )
    distant.fetcher.set_out(total_bytes=plan.read_bytes, streams_max=sizes.readers, unit_bytes=sizes.slot_bytes)
    timeline = distant.timeline
    timeline.reach("planned", distant.began)
    opened = time.perf_counter()
    try:
        reached = partial(timeline.reach, "first_tensor", distant.began)
        hand_out = yield from delivered(pipeline, backend, asked.dtype, on_made=reached)
        backend.synchronize()
        timeline.reach("last_tensor", distant.began)
        distant.finish()
    finally:
        if distant.following is not None:
            distant.following.stop()
        distant.fetcher.stop()
        pipeline.close()
    report = reported(
        pipeline,
        ring,
        backend,
        plan,
        wanted,
        label=distant.label,
        path="network",
        verified=distant.strength,
        checked_bytes=plan.read_bytes,
        began=began,
        opened=opened,
        hand_out=hand_out,
    )
    return replace(report, fetched_bytes=courier.fetched_bytes, cache=distant.cache, timeline=timeline)


def _progress(distant: Distant, plan: ReadPlan) -> Callable[[int], None]:
    """Passes on what the network's thread had to say, before what the plan says."""
    observer, mailbox = distant.options.on_event, distant.mailbox
    if observer is None:
        return lambda done: mailbox.deliver(None)
    tell = progress(observer, distant.label, plan, [entry.path for entry in distant.version.entries])

    def report(done: int) -> None:
        mailbox.deliver(observer)
        tell(done)

    return report
