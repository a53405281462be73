"""Making many files durable at once.

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


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
