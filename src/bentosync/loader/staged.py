"""Tensors through the pipeline: read, proven, copied to the device, handed out as views of its blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence

from bentosync.loader.delivery import delivered, progress, reported
from bentosync.loader.device import Tensor
from bentosync.loader.opening import Opening
from bentosync.loader.pipeline import Pipeline
from bentosync.loader.plan import Extent, ReadPlan, plan_reads
from bentosync.loader.reading import FileReading
from bentosync.loader.report import Report, Route
from bentosync.loader.selection import Wanted
from bentosync.loader.sizing import BLOCK_PER_TENSOR
from bentosync.loader.source import WeightFile
from bentosync.loader.staging import Ring


def staged_tensors(
    opening: Opening, wanted: Sequence[Wanted], began: float
) -> Generator[tuple[str, Tensor], None, Report]:
    """Tensors in file order, each when its bytes are on the device. Close the generator to stop early."""
    asked, backend, files = opening.options, opening.backend, opening.checkpoint.files
    route = _choose_routes([files[index] for index in sorted({want.file for want in wanted})])
    sizes = opening.sizing(direct=route != "page-cache")
    plan = plan_reads(
        wanted,
        [Extent(file.size, header.data_offset) for file, header in zip(files, opening.checkpoint.headers, strict=True)],
        slot_bytes=sizes.slot_bytes,
        unit_bytes=sizes.unit_bytes,
        block_bytes=BLOCK_PER_TENSOR if asked.own else sizes.block_bytes,
        prove_headers=bool(opening.proofs),
    )
    ring = Ring(backend, slot_bytes=sizes.slot_bytes, slots=sizes.slots, pinned=backend.name != "cpu", warn=asked.warn)
    pipeline = Pipeline(
        plan,
        FileReading(files, opening.proofs, backend).bring,
        backend,
        ring,
        readers=sizes.readers,
        ahead_bytes=sizes.ahead_of(plan.blocks, kept=opening.kept),
        on_done=_progress(opening, plan),
    )
    opened = time.perf_counter()
    try:
        hand_out = yield from delivered(pipeline, backend, asked.dtype, on_made=lambda: None)
        opening.checkpoint.check_unchanged()
        backend.synchronize()
    finally:
        pipeline.close()
    return reported(
        pipeline,
        ring,
        backend,
        plan,
        wanted,
        label=opening.label,
        path=route,
        verified=opening.verified,
        checked_bytes=sum(read.size for read in plan.reads if read.file in opening.proofs),
        began=began,
        opened=opened,
        hand_out=hand_out,
    )


def _choose_routes(files: Sequence[WeightFile]) -> Route:
    routes = {file.choose_route() for file in files}
    return "mixed" if len(routes) > 1 else next(iter(routes), "page-cache")


def _progress(opening: Opening, plan: ReadPlan) -> Callable[[int], None] | None:
    on_event = opening.options.on_event
    if on_event is None:
        return None
    return progress(on_event, opening.label, plan, [file.path.name for file in opening.checkpoint.files])
