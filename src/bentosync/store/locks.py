"""Locks between threads and processes: they save double work, and nothing relies on them.

An open-file-description lock belongs to the descriptor, so the kernel drops it with the process, and two threads that
open the file conflict like two processes. NFS and Lustre may grant everything to everybody: the first lock taken is
tried again through a second descriptor, and where that succeeds the locks are known to lie. Then only the mutex of
this `Locks` object is left, and what must be right is right anyway: names are unique, publishing is one rename.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bentosync.errors import Busy
from bentosync.store.disk import translated

_POLL_SECONDS_FIRST = 0.002
_POLL_SECONDS_MAX = 0.2
# struct flock: type, whence, start, length (0: to the end), pid (0 for these locks).
_WHOLE_FILE = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_NOTHING = struct.pack("@hhqqi4x", fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0)
_logger = logging.getLogger("bentosync")


class Locks:
    """The locks of one store. `clock` and `sleep` are injected by tests."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        acquire: Callable[[int], bool] | None = None,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._acquire = acquire or try_lock
        self._mutexes: dict[Path, threading.Lock] = {}
        self._guard = threading.Lock()
        self._honest: bool | None = None

    @contextlib.contextmanager
    def hold(self, path: Path, *, seconds: float, what: str) -> Iterator[None]:
        """Hold the lock file `path`, created if missing; not reentrant.

        Raises:
            Busy: Somebody else held it for `seconds`; `what` names what is locked.
            LocalIOError: The lock file cannot be created.
        """
        deadline = self._clock() + seconds
        with self._guard:
            mutex = self._mutexes.setdefault(path, threading.Lock())
        if not mutex.acquire(timeout=max(seconds, 0)):
            raise _busy(what, seconds)
        try:
            with translated(f"locking {what}"):
                path.parent.mkdir(parents=True, exist_ok=True)
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            try:
                self._wait(fd, path, deadline, seconds, what)
                yield
            finally:
                # Not only closed: a process that was forked meanwhile has the descriptor too, and would keep the lock.
                _unlock(fd)
                os.close(fd)
        finally:
            mutex.release()

    def abandoned(self, path: Path) -> bool:
        """Whether nobody holds the lock file; never true where locks lie or the file is missing."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return self._acquire(fd) and self._is_honest(path)
        finally:
            os.close(fd)

    def _wait(self, fd: int, path: Path, deadline: float, seconds: float, what: str) -> None:
        pause = _POLL_SECONDS_FIRST
        while not self._acquire(fd):
            left = deadline - self._clock()
            if left <= 0:
                raise _busy(what, seconds)
            self._sleep(min(pause, left))
            pause = min(pause * 2, _POLL_SECONDS_MAX)
        self._is_honest(path)

    def _is_honest(self, path: Path) -> bool:
        """Whether a lock that is held refuses a second descriptor. Called while `path` is locked."""
        if self._honest is None:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                self._honest = not self._acquire(fd)
            finally:
                os.close(fd)
            if not self._honest:
                _logger.warning("file locks do nothing on the file system of %s; work may be done twice", path.parent)
        return self._honest


def try_lock(fd: int) -> bool:
    """Lock a whole file now or not at all; true also where the file system knows no locks."""
    command = getattr(fcntl, "F_OFD_SETLK", None)
    try:
        if command is None:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            fcntl.fcntl(fd, command, _WHOLE_FILE)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock file now, found out without taking it; false where nobody can tell."""
    command = getattr(fcntl, "F_OFD_GETLK", None)
    if command is None:
        return False
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        found = fcntl.fcntl(fd, command, _WHOLE_FILE)
        return bool(struct.unpack_from("@h", found)[0] != fcntl.F_UNLCK)
    except OSError:
        return False
    finally:
        os.close(fd)


def _unlock(fd: int) -> None:
    """Let go of what `try_lock` took."""
    command = getattr(fcntl, "F_OFD_SETLK", None)
    with contextlib.suppress(OSError):
        if command is None:
            fcntl.flock(fd, fcntl.LOCK_UN)
        else:
            fcntl.fcntl(fd, command, _NOTHING)


def _busy(what: str, seconds: float) -> Busy:
    return Busy(
        f"{what} is in use by another process or thread, waited {seconds:g} s for it",
        hint="wait for the other bentosync command to end, then run this one again",
    )
