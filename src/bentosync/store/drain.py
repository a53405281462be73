"""Bytes that were written set out for the disk at once, so that publishing need not wait for all of them.

Left alone, the kernel begins to write back when a tenth of its memory is dirty, or after 30 s: a pull of less than that
would receive first, and wait for the disk afterwards. Whoever receives is not held up here: a thread asks, and if the
disk is behind, it is the thread that waits. What it does not get to, or fails with, is left to the fsync of publishing.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from pathlib import Path

from bentosync.durable import start_write_back

_PATIENCE_SECONDS = 1.0
"""How long closing waits for a call in progress; on a disk that stands still the thread stays behind with it."""


class Drain:
    """Takes ranges of files from any thread; `close` it before the files get other names."""

    def __init__(self) -> None:
        self._ranges: queue.SimpleQueue[tuple[Path, int, int] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def start(self, path: Path, offset: int, size: int) -> None:
        """Have `size` bytes from `offset` of the file at `path` written back soon."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="bentosync-drain", daemon=True)
            self._thread.start()
        self._ranges.put((path, offset, size))

    def close(self) -> None:
        """Start nothing more. Idempotent."""
        self._closed = True
        if self._thread is not None:
            self._ranges.put(None)
            self._thread.join(_PATIENCE_SECONDS)

    def _run(self) -> None:
        while not self._closed and (wanted := self._ranges.get()) is not None:
            path, offset, size = wanted
            with contextlib.suppress(OSError):
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    start_write_back(fd, offset, size)
                finally:
                    os.close(fd)
