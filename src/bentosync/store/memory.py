"""Whether files of a file system are memory: there, allocating a file is half of the work of writing it."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

_IN_MEMORY = frozenset({0x01021994, 0x858458F6})  # tmpfs, ramfs: linux/magic.h
_STATFS_BYTES = 512
"""More than any Linux `struct statfs`; only its first word is read."""


def is_in_memory(fd: int) -> bool:
    """Whether the open file `fd` lies on tmpfs or ramfs; False where that cannot be known."""
    if not sys.platform.startswith("linux"):
        return False
    answer = (ctypes.c_long * (_STATFS_BYTES // ctypes.sizeof(ctypes.c_long)))()
    return _libc().fstatfs(fd, ctypes.byref(answer)) == 0 and answer[0] & 0xFFFFFFFF in _IN_MEMORY


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
