"""Host memory, straight from the kernel.

No large pages are asked for: on a machine whose memory is full of page cache the kernel moved pages about to make them,
and first use took up to four times as long as with small ones.
"""

from __future__ import annotations

import mmap

import numpy as np

from bentosync.loader.device.backend import HostMemory
from bentosync.loader.device.framework import torch


def anonymous(size: int) -> mmap.mmap:
    """Untouched zeroed memory: whoever writes it first pays for its pages.

    Raises:
        OSError: There is no such room in the address space, or the kernel does not overcommit that far.
    """
    # Python's default is shared memory: slower to make, and a forked child would write into its parent's.
    return mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def pageable(size: int) -> HostMemory:
    """Page-aligned memory that is not pinned, untouched."""
    return staging(anonymous(size), pinned=False)


def staging(memory: mmap.mmap, *, pinned: bool) -> HostMemory:
    """A mapping as memory for staging."""
    return HostMemory(memoryview(memory), torch.frombuffer(memory, dtype=torch.uint8), pinned=pinned)


def touch(memory: HostMemory) -> None:
    """Have every page of `memory` made by this thread; others may run meanwhile."""
    np.frombuffer(memory.view, np.uint8)[:: mmap.PAGESIZE] = 0
