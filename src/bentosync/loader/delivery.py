"""The caller's end of a pipeline: tensors as views of its blocks, what is told about progress, and the report."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

from bentosync.events import Observer, Progress
from bentosync.loader import device
from bentosync.loader.device import Backend, Tensor
from bentosync.loader.pipeline import Pipeline
from bentosync.loader.plan import ReadPlan
from bentosync.loader.report import Report, Route, Stages, Verified
from bentosync.loader.selection import Wanted
from bentosync.loader.staging import Ring


def delivered(
    pipeline: Pipeline, backend: Backend, dtype: Any, *, on_made: Callable[[], None]
) -> Generator[tuple[str, Tensor], None, float]:
    """Each tensor when its bytes are on the device, cast to `dtype`; returns the seconds that making them took.

    `on_made` is called before each is handed out.
    """
    seconds = 0.0
    for placement, block in pipeline:
        start = time.perf_counter()
        want = placement.wanted
        if block is None:
            block = backend.allocate(0)
        tensor = device.view(block, placement.offset, want.dtype, want.shape)
        tensor, block = device.cast(tensor, dtype), None
        on_made()
        seconds += time.perf_counter() - start
        yield want.name, tensor
        del tensor  # a caller that drops it must be able to free its block
    return seconds


def reported(
    pipeline: Pipeline,
    ring: Ring,
    backend: Backend,
    plan: ReadPlan,
    wanted: Sequence[Wanted],
    *,
    label: str,
    path: Route,
    verified: Verified,
    checked_bytes: int,
    began: float,
    opened: float,
    hand_out: float,
) -> Report:
    """What a load through a pipeline has to say of itself, now that it is over.

    `began` and `opened` are moments of `time.perf_counter`, `hand_out` is in seconds.
    """
    return Report(
        label=label,
        device=backend.name,
        path=path,
        files=len({want.file for want in wanted}),
        tensors=len(wanted),
        bytes=plan.payload_bytes,
        read_bytes=plan.read_bytes,
        overread_bytes=plan.overread_bytes,
        checked_bytes=checked_bytes,
        seconds=time.perf_counter() - began,
        stages=pipeline.stages + Stages(open=opened - began, hand_out=hand_out),
        readers=pipeline.readers,
        ring_bytes=ring.size_bytes,
        pinned_bytes=ring.pinned_bytes,
        device_peak_bytes=backend.peak_bytes(),
        verified=verified,
    )


def progress(observer: Observer, label: str, plan: ReadPlan, paths: Sequence[str]) -> Callable[[int], None]:
    """Turns "so many reads are done" into a Progress event; `paths` names the plan's files."""
    totals: dict[int, int] = {}
    in_file = [totals.setdefault(read.file, 0) for read in plan.reads]
    for index, read in enumerate(plan.reads):
        totals[read.file] += read.size
        in_file[index] = totals[read.file]
    done_bytes = list(itertools.accumulate(read.size for read in plan.reads))

    def report(done: int) -> None:
        file = plan.reads[done - 1].file
        observer(
            Progress("load", label, paths[file], in_file[done - 1], totals[file], done_bytes[done - 1], plan.read_bytes)
        )

    return report
