"""Making many files durable at once, and one of them bit by bit before it has to be.

fsync waits for the disk once a file; `syncfs` waits once for all that the file system holds, whoever wrote it. Since
Linux 5.8 it reports an error of writing back any file of that file system, once to every descriptor that was open then:
the descriptor must be older than the writes, or an error in between goes unseen.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

_SYNC_FILE_RANGE_WRITE = 2


@contextlib.contextmanager
def synced(path: Path) -> Iterator[None]:
    """What is written below `path` in the block, on its file system, is durable after it. Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
        sync_file_system(fd)
    finally:
        os.close(fd)


def sync_file_system(fd: int) -> None:
    """Put everything on the file system of the open file `fd` on the disk. Raises `OSError`."""
    if not sys.platform.startswith("linux"):
        os.sync()
        return
    if _libc().syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def start_write_back(fd: int, offset: int, size: int) -> None:
    """Have what is dirty of `size` bytes from `offset` on set out for the disk, and wait for none of it.

    It says nothing about durability (`sync_file_range(2)`): an fsync is still due, and has less to wait for. Does
    nothing where there is no such call. Raises `OSError`.
    """
    if sys.platform.startswith("linux") and _libc().sync_file_range(
        fd, ctypes.c_int64(offset), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE
    ):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
