"""The tee: proven bytes on their way to a device are also written into the store's partial, behind the load's back.

One thread writes what the readers offer. It never makes them wait: above `backlog_bytes` an offer is let go, and
what was let go is fetched again when the load is over. The partial is the one a pull would use, block for block and bit
for bit, so whatever ends the process, the next load or pull goes on from it. Disk trouble ends the tee, nothing else.

Memory that is offered is either a slot of the ring, which the tee holds until it is written, or a block that the caller
may already have: there the bytes are hashed again after they were written, and what the caller changed meanwhile is
let go too.

When the load is over the same thread fetches the rest (gaps, files without tensors) and publishes as a pull does. At
the interpreter's exit it gets two seconds; then the partial stays.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import math
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from bentosync.errors import BentoMLException, from_os_error
from bentosync.loader.cache import Cache, State
from bentosync.loader.inline import Inline
from bentosync.manifest.digests import differing_blocks
from bentosync.store.partial import Partial, PartialFile
from bentosync.writing import write_at

BACKLOG_BYTES_MAX = 256 << 20
"""What may wait for the disk. A slower disk than network is behind for good, a hiccup of a quarter second is not."""

_EXIT_SECONDS = 2.0
_LEAVE_SECONDS = 1.0
"""For how long a load that is given up goes on writing what it has proven."""

Publish = Callable[[Partial], Awaitable[int]]
"""Completes and publishes a partial; returns how many bytes had to be fetched for it."""


@dataclass(frozen=True, slots=True)
class _Offer:
    """Proven bytes of `path` from `offset` on, in pieces that start on block edges."""

    path: str
    offset: int
    pieces: Sequence[memoryview]
    size: int
    shared: bool
    done: Callable[[], None]


class Tee:
    """One version being written. `offer` and `vouch` may be called from any thread.

    Args:
        target: Not open yet; the tee opens and closes it.
        document: The manifest as received.
        turn: What keeps others off the version; closed when the tee ends.
        direct: Write past the page cache where the file system can: memory is short.
        publish: For what is left to do when everything was loaded.
        check_space: Raises if the disk is too small, before the first byte.
    """

    def __init__(
        self,
        target: Partial,
        document: bytes,
        *,
        turn: ExitStack,
        direct: bool,
        publish: Publish,
        check_space: Callable[[], None],
        backlog_bytes: int = BACKLOG_BYTES_MAX,
    ) -> None:
        self.cache = Cache("tee", "filling")
        self._partial = target
        self._document = document
        self._turn = turn
        self._direct = direct
        self._publish = publish
        self._check_space = check_space
        self._backlog_max = backlog_bytes
        self._files: dict[str, PartialFile] = {file.entry.path: file for file in target.files}
        self._fds: dict[str, int] = {}

        self._changed = threading.Condition()  # guards everything below
        self._queue: deque[_Offer] = deque()
        self._vouched: list[tuple[str, int, int]] = []
        self._backlog = 0
        self._open = True
        self._finished = False
        self._whole = False
        self._cancel: Callable[[], None] = lambda: None
        self._left = False
        self._until = math.inf

        self._thread = threading.Thread(target=self._run, name="bentosync-cache", daemon=True)
        atexit.register(self._at_exit)
        self._thread.start()

    def offer(
        self, path: str, offset: int, pieces: Sequence[memoryview], *, shared: bool, done: Callable[[], None]
    ) -> bool:
        """Have these bytes written some time. False: they are let go, and the memory is not used.

        `shared` says that somebody else may write to the memory; `done` is called when it is no longer needed.
        """
        size = sum(map(len, pieces))
        with self._changed:
            if not self._open:
                return False
            if self._backlog + size > self._backlog_max:
                self.cache.skipped_bytes += size
                return False
            self._backlog += size
            self._queue.append(_Offer(path, offset, pieces, size, shared, done))
            self._changed.notify()
            return True

    def vouch(self, path: str, offset: int, size: int) -> None:
        """These blocks of the partial were read and proven: they need not be read again before publishing."""
        with self._changed:
            self._vouched.append((path, offset, size))

    def finish(self, *, whole: bool) -> None:
        """The load is over. With `whole` the version is completed and published, else kept as a partial."""
        with self._changed:
            self._open = False
            self._finished = True
            self._whole = whole
            self._changed.notify()

    def leave(self) -> None:
        """Stop soon: what was offered is written for a second yet. After `finish`, or again, it does nothing."""
        with self._changed:
            if self._finished:
                return
            self._open = False
            self._left = True
            self._until = time.monotonic() + _LEAVE_SECONDS
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(_EXIT_SECONDS)

    # --- the thread

    def _run(self) -> None:
        state: State
        try:
            with self._turn:
                state, reason = self._keep()
        except BaseException as error:
            state, reason = "failed", repr(error)
        finally:
            self._let_go()
        self.cache.settle(state, reason)
        atexit.unregister(self._at_exit)

    def _keep(self) -> tuple[State, str | None]:
        """Everything from opening to publishing; what came of it, and why."""
        try:
            self._check_space()
            self._partial.open(self._document)
            self._write_all()
            if not self._whole or self._left:
                return "partial", None if self._left else "only some tensors were loaded"
            self._take_vouched()
            self._close_files()
            self.cache.fetched_bytes = self._publish_now()
            return "published", None
        except asyncio.CancelledError:
            return "partial", "the process ended first"
        except OSError as error:
            return "failed", str(from_os_error(error, "writing the local copy"))
        except BentoMLException as error:
            return "failed" if not self._whole else "partial", str(error)
        finally:
            self._close_files()
            self._partial.close()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._queue and self._open:
                    self._changed.wait()
                if not self._queue or time.monotonic() > self._until:
                    return
                offer = self._queue.popleft()
            try:
                self._write(offer)
            finally:
                offer.done()
                with self._changed:
                    self._backlog -= offer.size

    def _write(self, offer: _Offer) -> None:
        file = self._files[offer.path]
        fd = self._descriptor(file)
        offset = offer.offset
        for piece in offer.pieces:
            write_at(fd, piece, offset)
            if offer.shared and not _still(file, offset, piece):
                self.cache.skipped_bytes += len(piece)
            else:
                size = min(len(piece), file.entry.size - offset)
                file.note(offset, size)
                self.cache.written_bytes += size
            offset += len(piece)

    def _descriptor(self, file: PartialFile) -> int:
        path = file.entry.path
        if path not in self._fds:
            self._fds[path] = (_direct(file) if self._direct else None) or file.open()
        return self._fds[path]

    def _close_files(self) -> None:
        """Files that were written in whole sectors get their size back."""
        fds, self._fds = self._fds, {}
        for path, fd in fds.items():
            with contextlib.suppress(OSError):
                if os.fstat(fd).st_size > self._files[path].entry.size:
                    os.ftruncate(fd, self._files[path].entry.size)
            os.close(fd)

    def _take_vouched(self) -> None:
        with self._changed:
            vouched, self._vouched = self._vouched, []
        for path, offset, size in vouched:
            self._files[path].vouch(offset, size)

    def _publish_now(self) -> int:
        async def publish() -> int:
            task = asyncio.current_task()
            loop = asyncio.get_running_loop()
            assert task is not None
            with self._changed:
                if self._left:
                    raise asyncio.CancelledError
                self._cancel = partial(_soon, loop, task)
            return await self._publish(self._partial)

        with asyncio.Runner() as runner:
            runner.get_loop().set_default_executor(Inline())
            return runner.run(publish())

    def _let_go(self) -> None:
        """Nothing is written any more: whoever waits for memory gets it back."""
        with self._changed:
            self._open = False
            offers, self._queue = list(self._queue), deque()
            self._backlog = 0
            self._cancel = lambda: None
        for offer in offers:
            self.cache.skipped_bytes += offer.size
            offer.done()

    def _at_exit(self) -> None:
        """Two seconds to finish; then what is proven stays as a partial."""
        if not self._finished:
            self.leave()
            return
        self._thread.join(_EXIT_SECONDS)
        with self._changed:
            self._left = True
            cancel = self._cancel
        cancel()
        self._thread.join(_EXIT_SECONDS / 4)


def _soon(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: it is over
        loop.call_soon_threadsafe(task.cancel)


def _still(file: PartialFile, offset: int, data: memoryview) -> bool:
    """Whether memory that others may write to still holds what was proven."""
    return not any(differing_blocks(file.entry, offset, data))


def _direct(file: PartialFile) -> int | None:
    """A descriptor past the page cache; None where the file system has no such thing."""
    if not hasattr(os, "O_DIRECT"):
        return None
    try:
        return os.open(file.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECT)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return None
        raise
