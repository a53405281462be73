"""Host memory, straight from the kernel.

No large pages are asked for: on a machine whose memory is full of page cache the kernel moved pages about to make them,
and first use took up to four times as long as with small ones.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np

from bentosync.loader.device.backend import HostMemory
from bentosync.loader.device.framework import torch

_POPULATE_WRITE = 23
"""MADV_POPULATE_WRITE, Linux 5.14; an older kernel refuses it and does nothing."""

_MADVISE = ctypes.CDLL(None).madvise if sys.platform == "linux" else None
"""Not mmap's: that one keeps the interpreter to itself while the kernel works."""
if _MADVISE is not None:
    _MADVISE.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def anonymous(size: int) -> mmap.mmap:
    """Untouched zeroed memory: whoever writes it first pays for its pages.

    Raises:
        OSError: There is no such room in the address space, or the kernel does not overcommit that far.
    """
    # Python's default is shared memory: slower to make, and a forked child would write into its parent's.
    return mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def populate(address: int, size: int) -> None:
    """Have the pages of [address, address + size), which all are of one mapping, made at once, where the kernel can.

    Cheaper than a fault for each of them: a fifth of the CPU that reading into new memory takes. Other threads run
    meanwhile. It is a hint: who writes to a page that is not there has it made then.
    """
    if _MADVISE is not None:
        start = address // mmap.PAGESIZE * mmap.PAGESIZE
        _MADVISE(start, address + size - start, _POPULATE_WRITE)


def pageable(size: int) -> HostMemory:
    """Page-aligned memory that is not pinned, untouched."""
    return staging(anonymous(size), pinned=False)


def staging(memory: mmap.mmap, *, pinned: bool) -> HostMemory:
    """A mapping as memory for staging."""
    return HostMemory(memoryview(memory), torch.frombuffer(memory, dtype=torch.uint8), pinned=pinned)


def touch(memory: HostMemory) -> None:
    """Have every page of `memory` made by this thread; others may run meanwhile."""
    np.frombuffer(memory.view, np.uint8)[:: mmap.PAGESIZE] = 0
