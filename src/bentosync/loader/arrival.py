"""A version on its way into the store, whose weights can be mapped while it comes.

On the CPU a tensor needs no memory of its own: what a pull writes lies in the page cache, and a private mapping of it
is a tensor. So the version is pulled, by the pull's own code, and whoever waits here hears when blocks are proven and
written. There is one copy of every byte, and writing the store costs nothing beside it.

Weights come first, in file order; what the load has no use for, and publishing, come behind it. All of that happens
in the fetcher's loop, where the connections are that brought the manifest, and goes on there when the load is over.
Disk trouble is raised here as what it is, and the load goes on without the disk. At the interpreter's exit publishing
gets two seconds; then the partial stays.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial

from bentosync.errors import BentoMLException, IntegrityError, LocalIOError, from_os_error
from bentosync.loader.cache import Cache, State
from bentosync.loader.failure import let_go
from bentosync.loader.fetcher import Fetcher
from bentosync.loader.inline import Inline
from bentosync.loader.remote_version import RemoteVersion
from bentosync.loader.staging import Stopped
from bentosync.manifest.values import BLOCK_BYTES, FileEntry
from bentosync.remote.contract import Remote
from bentosync.settings import TransferSettings
from bentosync.store.partial import Partial, PartialFile
from bentosync.sync.assembly import explained
from bentosync.sync.resolve import Resolved
from bentosync.transfer import download, plateau

_EXIT_SECONDS = 2.0

_LEVEL_START = 8
"""More than a pull begins with: a load is over in seconds. On a near server 16 took more CPU and were not faster."""

Publish = Callable[[Remote, Partial], Awaitable[int]]
"""Completes and publishes a partial; returns how many bytes had to be fetched for it."""

Moved = Callable[[str, int], None]
"""So many bytes more of a weight file are here. Called in the network's thread."""


class Arrival:
    """One version being pulled. `wait` and `descriptor` are for the thread that loads.

    Args:
        fetcher: Where it happens; it is closed when the version is published, or given up.
        target: Not open yet; this opens and closes it.
        version: The weights of it.
        turn: What keeps others off the version; closed at the end.
        publish: What is left to do when the weights are here.
        check_space: Raises if the disk is too small, before the first byte.
        moved: Hears of progress.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        found: Resolved,
        target: Partial,
        version: RemoteVersion,
        turn: ExitStack,
        *,
        transfer: TransferSettings,
        strong: bool,
        publish: Publish,
        check_space: Callable[[], None],
        moved: Moved,
    ) -> None:
        self.cache = Cache("tee", "filling")
        self.fetched_bytes = 0
        self._fetcher = fetcher
        self._found = found
        self._partial = target
        paths = [entry.path for entry in version.entries]
        files = {file.entry.path: file for file in target.files}
        self._files: Sequence[PartialFile | None] = [files.get(path) for path in paths]
        self._turn = turn
        self._transfer = transfer
        self._strong = strong
        self._publish = publish
        self._check_space = check_space
        self._moved = moved

        self._changed = threading.Condition()  # guards everything below
        self._fds: dict[int, int] = {}
        self._awaited: tuple[PartialFile, int] | None = None
        self._failure: BaseException | None = None
        self._arrived = self._ended = self._kept = self._closed = False
        atexit.register(self._at_exit)
        fetcher.begin(self._run).add_done_callback(lambda _: self._end("partial", asyncio.CancelledError()))

    def wait(self, number: int, begin: int, end: int, *, idle: Callable[[], None]) -> None:
        """Return when bytes [begin, end) of weight file `number` are proven and written; `idle` is called meanwhile.

        Raises:
            LocalIOError: The disk does not take them.
            Stopped: Nobody brings them: another process has published the version.
            BentoMLException: What the network says.
        """
        file = self._files[number]
        if file is None:  # it came with the manifest
            return
        block, stop = begin // BLOCK_BYTES, -(-end // BLOCK_BYTES)
        while True:
            with self._changed:
                while block < stop and file.holds(block):
                    block += 1
                if block >= stop and number in self._fds:
                    return
                if self._failure is not None:
                    raise self._failure
                if self._arrived:
                    raise Stopped
                self._awaited = (file, block)
                self._changed.wait(0.1)
                self._awaited = None
            idle()

    def descriptor(self, number: int) -> int:
        """Weight file `number`, open for reading until this is closed, wherever it is moved meanwhile."""
        with self._changed:
            return self._fds[number]

    def keep(self) -> None:
        """The load is over and has all it wanted: the rest goes on without it, and then closes the fetcher."""
        self._kept = True
        if self.cache.state != "filling":
            self._fetcher.close()

    def settle(self) -> bool:
        """Wait until nothing is written any more; whether the version is in the store now."""
        return self.cache.wait() == "published"

    def close(self) -> None:
        """Let go of the files; unless it is kept, stop, and leave a partial. A second call does nothing."""
        if not self._kept:
            self._fetcher.close()
        with self._changed:
            self._closed = True
        self._close_files()

    def _close_files(self) -> None:
        with self._changed:
            fds, self._fds = self._fds, {}
        for fd in fds.values():
            os.close(fd)

    # --- in the network's thread

    async def _run(self, remote: Remote) -> None:
        # Blocking calls run in this thread: it has nobody else to keep waiting.
        asyncio.get_running_loop().set_default_executor(Inline())
        try:
            with self._turn:
                try:
                    await self._fill(remote)
                finally:
                    self._partial.close()
        except OSError as error:
            self._end("failed", from_os_error(error, "writing the local copy"))
        except LocalIOError as error:
            self._end("failed", error)
        except (asyncio.CancelledError, BentoMLException) as error:
            self._end("partial", error)
        except BaseException as error:
            self._end("failed", error)
        else:
            self._end("published", None)

    async def _fill(self, remote: Remote) -> None:
        self._check_space()
        self._partial.open(self._found.document)
        files = [file for file in self._files if file is not None]
        with self._changed:
            self._fds = {number: file.open() for number, file in enumerate(self._files) if file is not None}
            closed = self._closed
        if closed:
            self._close_files()
        for file in files:
            file.reprove(strong=self._strong)
            self._tell(file)
        tally = download.Tally(self._proven, meter=self._fetcher.meter)
        try:
            await download.download(
                remote,
                [download.Target(self._found.key(file.entry.path), file) for file in files],
                jobs=self._transfer.streams_max,
                memory_bytes=self._transfer.memory_bytes,
                range_bytes=self._transfer.range_bytes,
                strong=self._strong,
                tally=tally,
                controller=partial(plateau.controller(seeking=self._transfer.seeking), level_start=_LEVEL_START),
                in_order=True,
            )
        except IntegrityError as error:
            raise await explained(remote, self._found, error) from error
        with self._changed:
            self._arrived = True
            self._changed.notify_all()
        self.cache.fetched_bytes = await self._publish(remote, self._partial)

    def _proven(self, entry: FileEntry, count: int) -> None:
        self.fetched_bytes += count
        self.cache.written_bytes += count
        self._moved(entry.path, count)
        awaited = self._awaited
        if awaited is not None and awaited[0].holds(awaited[1]):
            with self._changed:
                self._changed.notify_all()

    def _tell(self, file: PartialFile) -> None:
        """What an earlier try left of it counts as moved."""
        here = file.entry.size - sum(span.length for span in file.missing(BLOCK_BYTES))
        if here:
            self._moved(file.entry.path, here)

    def _end(self, state: State, error: BaseException | None) -> None:
        """The last word; only the first one counts."""
        cancelled = isinstance(error, asyncio.CancelledError)
        if error is not None:
            let_go(error)
        with self._changed:
            if self._ended:
                return
            self._ended = self._arrived = True
            self._failure = Stopped() if cancelled else error
            self._changed.notify_all()
        self._turn.close()  # once more, for work that was cancelled before its first step
        reason = "it was given up first" if cancelled else None if error is None else str(error)
        self.cache.settle(state, reason)
        atexit.unregister(self._at_exit)
        if self._kept:
            self._fetcher.close()

    def _at_exit(self) -> None:
        """Two seconds to finish; then what is proven stays as a partial."""
        if self._kept:
            self.cache.wait(_EXIT_SECONDS)
        self._fetcher.close()
