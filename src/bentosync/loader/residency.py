"""Is a file in the page cache? Decides between buffered and direct reads.

`mincore` counts the resident pages of a mapping without touching them, but it is not to be believed alone: for a file
the caller neither owns nor may write it calls every page resident, and some sandboxes invent the answer. So a "yes"
is confirmed by asking the kernel for a few spread pages with RWF_NOWAIT: would this read have waited for the disk?
That is the question itself, needs no clock and so no threshold in GB/s that is wrong on the next machine.

A wrong answer costs speed, never bytes.
"""

from __future__ import annotations

import ctypes
import mmap
import os

import numpy as np

_SAMPLES = 16
_PAGE = mmap.PAGESIZE


def is_resident(fd: int, size: int) -> bool:
    """Whether at least half of the file is in the page cache; True where nobody can tell."""
    fraction = resident_fraction(fd, size)
    if fraction is not None and fraction < 0.5:
        return False
    return _would_wait(fd, size) <= _SAMPLES // 2


def resident_fraction(fd: int, size: int) -> float | None:
    """The share of pages `mincore` calls resident; None where the platform does not say."""
    if not size:
        return 1.0
    try:
        mincore = ctypes.CDLL(None, use_errno=True).mincore
    except AttributeError:
        return None
    window = np.frombuffer(mmap.mmap(fd, size, access=mmap.ACCESS_READ), dtype=np.uint8)
    vector = np.zeros(-(-size // _PAGE), dtype=np.uint8)
    failed = mincore(ctypes.c_void_p(window.ctypes.data), ctypes.c_size_t(size), ctypes.c_void_p(vector.ctypes.data))
    return None if failed else np.count_nonzero(vector & 1) / len(vector)


def _would_wait(fd: int, size: int) -> int:
    """How many of `_SAMPLES` spread pages a read would have to wait for."""
    flag = getattr(os, "RWF_NOWAIT", None)
    if flag is None:
        return 0
    page, waits = bytearray(_PAGE), 0
    for index in range(_SAMPLES):
        offset = size * index // _SAMPLES // _PAGE * _PAGE
        try:
            os.preadv(fd, [page], offset, flag)
        except BlockingIOError:
            waits += 1
        except OSError:  # the file system does not know the flag
            return 0
    return waits
