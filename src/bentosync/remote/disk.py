"""The durable steps a folder remote is made of. Blocking; every function runs in a worker thread.

A file is born under a temporary name, written, synced, and only then linked or renamed to where readers look; then
the folder that names it is synced. `errors` names the object, so that every `OSError` is translated here and once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bentosync.durable import synced
from bentosync.errors import Busy, Conflict, LocalIOError, NoSpace, NotFound, UnsafeInput
from bentosync.writing import write_at

_LOCK_SECONDS_MAX = 30.0
_LOCK_POLL_SECONDS = 0.01
_PUBLISH_TRIES = 10
# Syncing the file system waits for what others wrote there, too; for a few files that is not worth it.
_SYNC_ONE_BY_ONE_MAX = 16


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn an `OSError` about `what` into the family it belongs to."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"{what} does not exist") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                f"No space left for {what}: {error.strerror}", hint="free space or quota, then try again"
            ) from error
        if error.errno == errno.ELOOP:
            raise UnsafeInput(f"{what} is a symbolic link, which a folder remote never makes") from error
        raise LocalIOError(f"{what}: {error.strerror or error}") from error


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a file that must be a plain one; a link, a FIFO or a device in its place raises `UnsafeInput`."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafeInput(f"{path} is not a regular file")
    return descriptor


def etag(status: os.stat_result) -> str:
    """Names one state of a file: its inode, size and time of birth."""
    return f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'


def read_exactly(descriptor: int, view: memoryview, offset: int) -> int:
    """`pread` until `view` is full or the file ends; return the bytes read."""
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if count == 0:
            break
        done += count
    return done


def write_all(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
    """`pwrite` the buffers one after the other from `offset` on; return the bytes written."""
    start = offset
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        write_at(descriptor, view, offset)
        offset += len(view)
    return offset - start


def make_folder(path: Path) -> None:
    """Create `path` and its missing parents, each made durable in the folder above it."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir()
        sync_folder(path.parent)
    if not stat.S_ISDIR(path.stat().st_mode):
        raise LocalIOError(f"{path} is not a folder, so nothing can be stored below it")


def sync_folder(path: Path) -> None:
    """Make the names in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_temporary(folder: Path, buffers: Sequence[memoryview]) -> Path:
    """A new synced file in `folder` with these bytes, under a name nobody else uses."""
    make_folder(folder)
    path = folder / f"tmp-{secrets.token_hex(8)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write_all(descriptor, buffers, 0)
        seal(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return path


@contextlib.contextmanager
def together(folder: Path, contents: Sequence[memoryview]) -> Iterator[list[Path]]:
    """As `write_temporary` for each of `contents`, of many with one sync for all; what is not published goes again."""
    made: list[Path] = []
    prefix = f"{folder}/tmp-{secrets.token_hex(8)}-"
    one_by_one = len(contents) <= _SYNC_ONE_BY_ONE_MAX
    try:
        with contextlib.nullcontext() if one_by_one else synced(folder):
            for number, content in enumerate(contents):
                path = Path(f"{prefix}{number}")
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                made.append(path)
                try:
                    write_all(descriptor, [content], 0)
                    (seal if one_by_one else _date)(descriptor)
                finally:
                    os.close(descriptor)
        yield made
    finally:
        for path in made:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def publish_together(temporaries: Sequence[Path], targets: Sequence[Path], *, replace: bool) -> list[bool]:
    """Give each its final name, over what is there or only if it is free; which of them have it now."""
    folders = {target.parent for target in targets}
    for folder in folders:
        make_folder(folder)
    published = []
    for temporary, target in zip(temporaries, targets, strict=True):
        try:
            (os.replace if replace else os.link)(temporary, target)
        except (FileExistsError, FileNotFoundError):
            published.append(False)  # taken, or its folder was removed this moment: whoever tries again will see
        else:
            published.append(True)
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            sync_folder(folder)
    return published


def sweep_temporary(folder: Path, *, age_seconds: float) -> None:
    """Remove what writers that died left in `folder`: temporary files, and uploads that were never begun."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if not entry.name.startswith("tmp-") or time.time() - entry.stat().st_mtime < age_seconds:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)


def seal(descriptor: int) -> None:
    """Sync a finished file, and date it.

    The clock's nanoseconds are finer than the kernel's own stamps: two states of one name then never share an ETag,
    even if the file system hands out the same inode again.
    """
    _date(descriptor)
    os.fsync(descriptor)


def _date(descriptor: int) -> None:
    now = time.time_ns()
    os.utime(descriptor, ns=(now, now))


def publish_new(temporary: Path, target: Path) -> None:
    """Give `temporary` its final name if the name is free, atomically; raises `Conflict` if it is taken."""

    def link() -> None:
        try:
            os.link(temporary, target, follow_symlinks=False)
        except FileExistsError:
            # NFS may report EEXIST for a link of ours whose first reply was lost; the link count knows.
            if temporary.stat().st_nlink < 2:
                raise Conflict(f"{target} exists already") from None

    _with_folder(target.parent, link)
    temporary.unlink(missing_ok=True)


def publish_over(temporary: Path, target: Path) -> None:
    """Give `temporary` its final name, replacing what is there."""
    _with_folder(target.parent, lambda: temporary.replace(target))


def _with_folder(folder: Path, act: Callable[[], object]) -> None:
    """Run `act` in an existing folder and sync it; a concurrent delete may remove an empty folder in between."""
    for attempt in range(_PUBLISH_TRIES):
        try:
            make_folder(folder)
            act()
            sync_folder(folder)
            return
        except FileNotFoundError:
            if attempt == _PUBLISH_TRIES - 1:
                raise


def remove_empty_parents(folder: Path, root: Path) -> None:
    """Remove `folder` and its parents below `root` while they are empty: object stores have no folders."""
    while folder != root and root in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the exclusive lock on `path`, against other threads, processes and (where it keeps locks) NFS clients.

    Raises:
        Busy: Somebody else held it for 30 s.
    """
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    deadline = time.monotonic() + _LOCK_SECONDS_MAX
    try:
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise Busy(f"{path} has been locked by another process for {_LOCK_SECONDS_MAX:.0f} s")
            time.sleep(_LOCK_POLL_SECONDS)
        yield
    finally:
        # Not only closed: a process that was forked meanwhile has the descriptor too, and would keep the lock.
        _unlock(descriptor)
        os.close(descriptor)


def _unlock(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "linux":
            nothing = struct.pack("hhlli0l", fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0)
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, nothing)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _try_lock(descriptor: int) -> bool:
    """One non-blocking try. The lock belongs to the open file, not to the process, so threads exclude each other."""
    try:
        if sys.platform == "linux":
            everything = struct.pack("hhlli0l", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, everything)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
