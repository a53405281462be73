"""Tensors as views of private mappings: nothing is read before it is touched, and the page cache is the memory.

A mapping is MAP_PRIVATE and writable: what a caller writes into a tensor goes to pages of its own and never to the
file. The file may be replaced by rename or unlinked; one that is truncated in place kills the process with SIGBUS at
the next touch, as it does under every loader that maps. A tensor whose offset does not suit its element type is
copied.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Generator, Sequence

from bentosync.errors import LocalIOError
from bentosync.loader import device
from bentosync.loader.device import Tensor
from bentosync.loader.opening import Opening
from bentosync.loader.report import Report, Stages
from bentosync.loader.selection import Wanted

_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)
"""Else the kernel may refuse a private writable mapping of a model that is larger than memory."""


def mapped_tensors(
    opening: Opening, wanted: Sequence[Wanted], began: float
) -> Generator[tuple[str, Tensor], None, Report]:
    """Views of mappings, in file order."""
    own, dtype = opening.options.own, opening.options.dtype
    opened = time.perf_counter()
    files = opening.checkpoint.files
    mappings: dict[int, mmap.mmap] = {}
    copied_bytes = 0
    for name, kind, shape, number, begin, end in wanted:
        memory = mappings.get(number)
        if memory is None:
            file = files[number]
            memory = mappings[number] = map_privately(file.fileno(), file.size, str(file.path))
        tensor = device.mapped(memory, begin, end - begin, kind, shape, own=own)
        if own or begin % tensor.itemsize:
            copied_bytes += end - begin
        yield name, tensor if dtype is None else device.cast(tensor, dtype)
    now = time.perf_counter()
    return Report(
        label=opening.label,
        device="cpu",
        path="mapped",
        files=len({want.file for want in wanted}),
        tensors=len(wanted),
        bytes=sum(want.size for want in wanted),
        read_bytes=copied_bytes,
        overread_bytes=0,
        seconds=now - began,
        stages=Stages(open=opened - began, hand_out=now - opened),
        readers=0,
        ring_bytes=0,
        pinned_bytes=0,
        device_peak_bytes=0,
        verified=opening.verified,
    )


def map_privately(fd: int, size: int, name: str) -> mmap.mmap:
    """All `size` bytes of an open file, for reading and for writes that nobody else sees.

    Raises:
        LocalIOError: The file system maps nothing.
    """
    flags = mmap.MAP_PRIVATE | _NORESERVE
    try:
        return mmap.mmap(fd, size, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError as error:
        raise LocalIOError(f"cannot map {name}: {error.strerror}", hint='staging="force" reads instead') from error
