"""A file that appears whole or not at all: written beside its target, synced, renamed over it.

Until the rename an older file of that name is untouched, and what was written is removed if anything goes wrong. Only a
kill leaves something: `.bentosync-<random>.partial`, which a later export into the same folder removes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from bentosync.errors import InvalidArgument
from bentosync.formats.archive.member import Bytes
from bentosync.store.disk import Disk
from bentosync.writing import WRITE_BYTES, append

_DEAD_SECONDS = 24 * 3600.0
"""Whoever writes an export touches it all the time."""


def beside(target: Path, disk: Disk) -> Path:
    """A name of its own next to `target`, for what is not finished; what dead exports left there is removed."""
    for left in target.parent.glob(".bentosync-????????.partial"):
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime > _DEAD_SECONDS:
                disk.remove_tree(left) if left.is_dir() else disk.unlink(left)
    return target.with_name(f".bentosync-{secrets.token_hex(4)}.partial")


class Output:
    """The file `target` in the making; use it as a context and `commit` inside. Methods raise `OSError`.

    Raises:
        InvalidArgument: There is something at `target` that is no regular file.
    """

    def __init__(self, target: Path, disk: Disk) -> None:
        self.position = 0
        # A link is followed, so that the file it names is replaced and not the link.
        self._target = Path(os.path.realpath(target))
        if self._target.exists() and not stat.S_ISREG(self._target.stat().st_mode):
            raise InvalidArgument(f"{target} is neither a regular file nor a folder")
        self._disk = disk
        self._scratch = beside(self._target, disk)
        self._fd = os.open(self._scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        self._disk.unlink(self._scratch)

    def write(self, parts: Sequence[Bytes]) -> None:
        """Append; at most 1024 parts."""
        if sum(map(len, parts)) <= WRITE_BYTES:
            parts = [b"".join(parts)]
        for part in parts:
            append(self._fd, part)
            self.position += len(part)

    def patch(self, offset: int, data: bytes) -> None:
        """Overwrite what was written at `offset`."""
        os.pwrite(self._fd, data, offset)

    def commit(self) -> None:
        """Put it on the disk and in its place."""
        os.fsync(self._fd)
        self._disk.rename(self._scratch, self._target)
        self._disk.sync_directory(self._target.parent)
