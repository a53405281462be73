"""The file-system calls by which the store changes what others see, gathered in one object.

Everything durable goes through `Disk`, so a test can stop the process, or fill the disk, at every single call. None
of them retries: a failed fsync means the kernel may have dropped the data, and the file must be thrown away.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from bentosync.durable import sync_file_system
from bentosync.errors import LocalIOError, from_os_error

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY})

MOUNT_HINT = (
    "mount the folder that holds `models` instead of `models` itself, or set `[store] state_dir` to a folder on the "
    "volume of `models`, outside `models`"
)


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what the disk refuses into the error families; `doing` says what was being done to which object."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise LocalIOError(f"{doing}: store and state are not on one file system", hint=MOUNT_HINT) from error
        raise from_os_error(error, doing) from error


class Disk:
    """The calls themselves. Methods raise `OSError`."""

    @cached_property
    def _libc(self) -> Any:
        return ctypes.CDLL(None, use_errno=True)

    def make_directory(self, path: Path, mode: int = 0o777) -> None:
        """Create `path` and what leads to it; existing folders are kept."""
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=mode, exist_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        """Create the file `path`, which must not exist, with its bytes on the disk."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)

    def rename(self, old: Path, new: Path) -> None:
        """Rename, replacing a file; a folder that is not empty is never replaced."""
        os.rename(old, new)

    def rename_new(self, old: Path, new: Path) -> None:
        """Rename a folder to a name that must be free (`FileExistsError`)."""
        if self._rename2(old, new, _RENAME_NOREPLACE):
            return
        try:
            # Without the flag rename may only replace an empty folder, and that is no version.
            os.rename(old, new)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(new)) from error
            raise

    def exchange(self, one: Path, other: Path) -> bool:
        """Swap two folders in one step; False where the file system cannot."""
        return self._rename2(one, other, _RENAME_EXCHANGE)

    def sync_file(self, path: Path) -> None:
        """Put a file's bytes on the disk."""
        self._sync(path, os.O_RDONLY | os.O_NOFOLLOW)

    def sync_directory(self, path: Path) -> None:
        """Put the names in a folder on the disk."""
        self._sync(path, os.O_RDONLY | os.O_DIRECTORY)

    def sync_file_system(self, path: Path) -> None:
        """Put everything on the file system of `path` on the disk: for many files cheaper than one by one."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            sync_file_system(fd)
        finally:
            os.close(fd)

    def unlink(self, path: Path) -> None:
        """Remove a file; one that is gone is fine."""
        path.unlink(missing_ok=True)

    def remove_directory(self, path: Path) -> None:
        """Remove an empty folder; one that is not empty, or gone, stays as it is."""
        with contextlib.suppress(OSError):
            path.rmdir()

    def remove_tree(self, path: Path) -> None:
        """Remove a tree as far as possible; what remains is tried again when the store is next opened for writing."""
        if path.is_symlink():
            # A version somebody linked into the store: the link goes, what it names is not ours.
            path.unlink(missing_ok=True)
            return
        shutil.rmtree(path, ignore_errors=True)
        if path.is_dir():
            for folder, _, _ in os.walk(path):
                with contextlib.suppress(OSError):
                    os.chmod(folder, 0o700)
            shutil.rmtree(path, ignore_errors=True)

    def _rename2(self, old: Path, new: Path, flags: int) -> bool:
        if not sys.platform.startswith("linux") or not hasattr(self._libc, "renameat2"):
            return False
        if self._libc.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags) == 0:
            return True
        if ctypes.get_errno() in _UNSUPPORTED:
            return False
        self._raise(new)
        return False

    def _raise(self, path: Path) -> None:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))

    def _sync(self, path: Path, flags: int) -> None:
        fd = os.open(path, flags | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
