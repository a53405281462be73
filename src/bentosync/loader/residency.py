"""Is a file in the page cache? Decides between buffered and direct reads.

`mincore` says of pages of a mapping whether they are resident without touching them, but it is not to be believed
alone: for a file the caller neither owns nor may write it calls every page resident, and some sandboxes invent the
answer. So a "yes" is confirmed by asking the kernel for a few spread pages with RWF_NOWAIT: would this read have waited
for the disk? That is the question itself, needs no clock and so no threshold in GB/s that is wrong on the next machine.
It is not asked first because it starts reading what is not there.

Both look at places spread over the file, whatever its size: the kernel takes 20 ms to look every page of 1 GB up, a
fifth of the time that reading them takes. A wrong answer costs speed, never bytes.
"""

from __future__ import annotations

import ctypes
import mmap
import os

import numpy as np

_LIBC = ctypes.CDLL(None)
_PLACES = 64
_SAMPLES = 16
_PAGE = mmap.PAGESIZE


def is_resident(fd: int, size: int) -> bool:
    """Whether about half of the file or more is in the page cache; True where nobody can tell."""
    fraction = resident_fraction(fd, size)
    if fraction is not None and fraction < 0.5:
        return False
    return _would_wait(fd, size) <= _SAMPLES // 2


def resident_fraction(fd: int, size: int) -> float | None:
    """The share of `_PLACES` spread pages that `mincore` calls resident; None where the platform does not say."""
    if not size:
        return 1.0
    try:
        mincore = _LIBC.mincore
    except AttributeError:
        return None
    mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    window = np.frombuffer(mmap.mmap(fd, size, access=mmap.ACCESS_READ), dtype=np.uint8)
    start, resident, answer = window.ctypes.data, 0, ctypes.create_string_buffer(1)
    for place in range(_PLACES):
        if mincore(start + _spread(place, _PLACES, size), 1, answer):
            return None
        resident += answer.raw[0] & 1
    return resident / _PLACES


def _spread(place: int, places: int, size: int) -> int:
    """Where the page of place number `place` begins."""
    return size * place // places // _PAGE * _PAGE


def _would_wait(fd: int, size: int) -> int:
    """How many of `_SAMPLES` spread pages a read would have to wait for."""
    flag = getattr(os, "RWF_NOWAIT", None)
    if flag is None:
        return 0
    page, waits = bytearray(_PAGE), 0
    for index in range(_SAMPLES):
        try:
            os.preadv(fd, [page], _spread(index, _SAMPLES, size), flag)
        except BlockingIOError:
            waits += 1
        except OSError:  # the file system does not know the flag
            return 0
    return waits
