"""Host memory, straight from the kernel.

Large pages where they are to be had (`madvise`): one fault makes 2 MiB at once, and the driver pins a few pages where
it would pin thousands.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

import numpy as np

from bentosync.loader.device.backend import HostMemory
from bentosync.loader.device.framework import torch


def anonymous(size: int) -> mmap.mmap:
    """Untouched zeroed memory: whoever writes it first pays for its pages.

    Raises:
        OSError: There is no such room in the address space, or the kernel does not overcommit that far.
    """
    memory = mmap.mmap(-1, max(size, 1))
    with suppress(OSError, AttributeError):  # a kernel without large pages; a platform without the word
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def pageable(size: int) -> HostMemory:
    """Page-aligned memory that is not pinned, untouched."""
    memory = anonymous(size)
    return HostMemory(memoryview(memory), torch.frombuffer(memory, dtype=torch.uint8), pinned=False)


def touch(memory: HostMemory) -> None:
    """Have every page of `memory` made by this thread; others may run meanwhile."""
    np.frombuffer(memory.view, np.uint8)[:: mmap.PAGESIZE] = 0
