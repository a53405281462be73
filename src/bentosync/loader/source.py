"""One weight file, opened once and read through that descriptor to the end.

The header, the size and every later byte come from the same descriptor, so a file that is renamed, replaced by
rename, or unlinked during a load (a pull with `--force`, a prune) still yields the bytes it had when it was opened.
What a descriptor does not protect from is a writer that changes the file in place: a short read or another size or
mtime at the end is an `IntegrityError`, raised before any tensor of the load is called complete.

Two ways to read: through the page cache, or past it (`O_DIRECT`) when the file is cold and large. `os.preadv` releases
the GIL and writes into memory the caller owns; any number of threads may read one file at once.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

from bentosync.errors import IntegrityError, LocalIOError, NotFound, UnsafeInput
from bentosync.loader.residency import is_resident
from bentosync.store.record import Stamp

Route = Literal["page-cache", "direct"]

SECTOR_BYTES = 4096
"""Offsets, sizes and addresses of direct reads are multiples of it: the largest sector any disk asks for."""

PIECES_MAX = 1024
"""Of memory that one read fills: IOV_MAX of Linux."""

_DIRECT_BYTES_MIN = 64 << 20
"""Below this a direct read saves nothing that is worth leaving the file cold for the next process."""


class WeightFile:
    """A regular file, open for reading. Close it, or use it as a context manager.

    Raises:
        NotFound: There is no such file.
        UnsafeInput: It is not a regular file.
        LocalIOError: The file system refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._direct: int | None = None
        try:
            # O_NONBLOCK: opening a FIFO that was put here must not hang.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise NotFound(f"weight file {path} does not exist") from None
        except OSError as error:
            raise _local(path, error) from error
        status = os.fstat(self._fd)
        self.stamp = Stamp.of(status)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise UnsafeInput(f"weight file {path} is not a regular file")

    @property
    def size(self) -> int:
        """Bytes, when it was opened."""
        return self.stamp.size

    def fileno(self) -> int:
        """The descriptor of the page-cache route, owned by this object."""
        return self._fd

    def choose_route(self) -> Route:
        """Open the direct route if the file is large and cold and its file system has one; say which reads take."""
        if self.size >= _DIRECT_BYTES_MIN and not is_resident(self._fd, self.size):
            self._direct = _reopen_direct(self._fd)
        return "page-cache" if self._direct is None else "direct"

    @property
    def is_direct(self) -> bool:
        """Whether reads go past the page cache."""
        return self._direct is not None

    def read_into(self, memory: memoryview, offset: int, size: int) -> None:
        """Fill `memory[:size]` from `offset`.

        On the direct route `memory` starts at a sector, `offset` is a multiple of the sector, and `memory` has room for
        `size` rounded up to sectors.

        Raises:
            IntegrityError: The file has become shorter.
            LocalIOError: The disk refuses.
        """
        fd, room = self._fd, size
        if self._direct is not None:
            fd, room = self._direct, -(-size // SECTOR_BYTES) * SECTOR_BYTES
        done = 0
        while done < size:
            done += self._read(fd, [memory[done:room]], offset + done)
            if done < size and done % SECTOR_BYTES:
                fd = self._fd  # a direct read that stopped inside a sector cannot go on from there

    def scatter_into(self, memories: Sequence[memoryview], offset: int) -> None:
        """Fill at most `PIECES_MAX` memories, one after the other, from `offset` on, through the page cache.

        Raises:
            IntegrityError: The file has become shorter.
            LocalIOError: The disk refuses.
        """
        left = deque(memories)
        while left:
            got = self._read(self._fd, tuple(left), offset)
            offset += got
            while left and got >= len(left[0]):
                got -= len(left.popleft())
            if got:
                left[0] = left[0][got:]

    def _read(self, fd: int, memories: Sequence[memoryview], offset: int) -> int:
        """One system call; how many bytes it read, at least one."""
        try:
            got = os.preadv(fd, memories, offset)
        except OSError as error:
            raise _local(self.path, error) from error
        if got == 0:
            raise IntegrityError(
                f"{self.path} was truncated while it was read: no byte at offset {offset} of {self.size}",
                hint="load again once nothing writes to it",
            )
        return got

    def check_unchanged(self) -> None:
        """Raise IntegrityError unless size and mtime are what they were at opening (ctime may move: unlink, rename)."""
        now = Stamp.of(os.fstat(self._fd))
        if (now.size, now.mtime_ns) != (self.stamp.size, self.stamp.mtime_ns):
            raise IntegrityError(
                f"{self.path} changed while it was read: {self.size} bytes before, {now.size} now",
                hint="load again once nothing writes to it",
            )

    def close(self) -> None:
        """Close the descriptors; a second call does nothing."""
        fds, self._fd, self._direct = (self._fd, self._direct), -1, None
        for fd in fds:
            if fd is not None and fd >= 0:
                os.close(fd)

    def __del__(self) -> None:
        self.close()  # an iterator that is dropped half-way keeps no descriptor

    def __enter__(self) -> WeightFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _reopen_direct(fd: int) -> int | None:
    """The same inode, past the page cache; None where the file system has no such thing (tmpfs, some overlays)."""
    if not hasattr(os, "O_DIRECT"):
        return None
    try:
        direct = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        return None
    if os.fstat(direct).st_ino != os.fstat(fd).st_ino:
        os.close(direct)
        return None
    return direct


def _local(path: Path, error: OSError) -> LocalIOError:
    hint = "raise the limit of open files (ulimit -n)" if error.errno in (errno.EMFILE, errno.ENFILE) else None
    return LocalIOError(f"cannot read weight file {path}: {error.strerror}", hint=hint)
