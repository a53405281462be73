"""A bucket for exports and imports, over the same engine as remotes: signed requests on our wire, retried.

An export is one PUT if it is small, else a multipart upload whose parts are sent while the next is filled. The store
checks the checksum of the whole when it completes, and until then shows nothing; an upload that fails is aborted. An
import reads ranges of one object, held to the ETag that it had at first.
"""

from __future__ import annotations

import logging
import mmap
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import TypeVar

from bentosync.errors import BentoMLException, Conflict, IntegrityError, NotFound
from bentosync.exchange.external.ahead import in_order
from bentosync.exchange.external.contract import Found
from bentosync.exchange.external.loop import LoopThread
from bentosync.formats.archive.member import Bytes
from bentosync.native.checksum import Checksum
from bentosync.native.checksum import named as checksum_named
from bentosync.remote.contract import MissingRemote, Part, Remote, Upload
from bentosync.transfer import parts

T = TypeVar("T")

_AHEAD = 8
_PARTS_AHEAD = 4

_logger = logging.getLogger("bentosync")


class BucketStorage:
    """The contract over a remote whose completed uploads replace objects. Closes the remote.

    Args:
        remote: The bucket.
        loop: Where its coroutines run; closed too.
        memory_bytes: Bound of the buffers of an upload.
    """

    def __init__(self, remote: Remote, loop: LoopThread, memory_bytes: int) -> None:
        self._remote = remote
        self._loop = loop
        self._memory_bytes = memory_bytes
        self._etags: dict[str, str] = {}

    def find(self, path: str) -> Found | None:
        """One HEAD; if there is no such object, a listing tells whether there is a folder."""
        if path and not path.endswith("/"):
            try:
                stat = self._loop.call(lambda: self._remote.stat(path))
            except MissingRemote:
                raise
            except NotFound:
                pass
            else:
                self._etags[path] = stat.etag
                return Found(path, stat.size)
        prefix = f"{path.rstrip('/')}/" if path else ""
        return Found(path, folder=True) if self._loop.call(lambda: _any(self._remote, prefix)) else None

    def read(self, found: Found) -> Iterator[Bytes]:
        """Ranges of one and the same object."""

        def fetch(start: int, length: int) -> Future[Bytes]:
            return self._loop.submit(partial(self._range, found.path, start, length))

        return in_order(fetch, found.size, most=_AHEAD, settle=self._loop.settle)

    def create(self, path: str, bytes_max: int) -> BucketSending:
        """Parts of the size that so many bytes need."""
        return BucketSending(self._remote, self._loop, path, parts.part_bytes(bytes_max), self._memory_bytes)

    def walk(self, path: str) -> Iterator[Found]:
        """Every object below the prefix, page by page; those that stand for folders are no files."""
        prefix = f"{path.rstrip('/')}/" if path else ""
        listing = self._remote.list(prefix)
        while (stat := self._loop.call(lambda: anext(listing, None))) is not None:
            if not stat.key.endswith("/"):
                yield Found(stat.key, stat.size)

    def remove(self, path: str) -> None:
        """One DELETE."""
        self._loop.call(lambda: self._remote.delete(path))

    def close(self) -> None:
        """Close connections and the loop."""
        try:
            self._loop.call(self._remote.aclose)
        finally:
            self._loop.close()

    async def _range(self, path: str, start: int, length: int) -> Bytes:
        landing = _Landing(length)
        etag = await self._remote.read_range(path, start, length, landing, etag=self._etags.get(path))
        self._etags.setdefault(path, etag)
        return landing.memory


class BucketSending:
    """One object being written; see `contract.Sending`."""

    def __init__(self, remote: Remote, loop: LoopThread, key: str, part_bytes: int, memory_bytes: int) -> None:
        self.position = 0
        self._remote = remote
        self._loop = loop
        self._key = key
        self._part_bytes = part_bytes
        self._most = max(1, min(_PARTS_AHEAD, memory_bytes // part_bytes - 1))
        name = remote.properties.checksum
        self._checksum: Checksum | None = checksum_named(name) if name else None
        self._value = self._whole = 0
        self._buffer = memoryview(mmap.mmap(-1, part_bytes))
        self._filled = 0
        self._free: list[memoryview] = []
        self._upload: Upload | None = None
        self._sending: deque[tuple[Future[Part], memoryview]] = deque()
        self._parts: list[Part] = []
        self._committed = False

    def __enter__(self) -> BucketSending:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._committed:
            return
        self._loop.settle([future for future, _ in self._sending])
        upload = self._upload
        if upload is None:
            return
        try:
            self._loop.call(lambda: self._remote.abort_upload(upload))
        except BentoMLException as failure:
            _logger.warning(
                "an unfinished upload of %s is still in the bucket, where only its parts cost anything: %s",
                self._key, failure.message,
            )  # fmt: skip

    def write(self, parts: Sequence[Bytes]) -> None:
        """Copy into the part that is being filled; a full one is sent when more follows."""
        for piece in parts:
            view = memoryview(piece).cast("B")
            self.position += len(view)
            while view:
                if self._filled == self._part_bytes:
                    self._send()
                taken = min(len(view), self._part_bytes - self._filled)
                target = self._buffer[self._filled : self._filled + taken]
                target[:] = view[:taken]
                if self._checksum is not None:
                    self._value = self._checksum.update(target, self._value)
                self._filled += taken
                view = view[taken:]

    def commit(self) -> None:
        """Send the rest and complete."""
        if self._upload is None:
            data, value = self._buffer[: self._filled], self._packed(self._value)
            self._loop.call(lambda: self._remote.write(self._key, [data], checksum=value))
        else:
            self._send()
            while self._sending:
                self._take()
            self._complete(self._upload)
        self._committed = True

    def _send(self) -> None:
        """Send what is in the buffer as the next part, and have an empty buffer."""
        upload = self._upload = self._upload or self._loop.call(
            lambda: self._remote.start_upload(self._key, size=self.position, part_bytes=self._part_bytes)
        )
        while len(self._sending) >= self._most:
            self._take()
        number = len(self._parts) + len(self._sending) + 1
        data, value = self._buffer[: self._filled], self._packed(self._value)
        sending = self._loop.submit(lambda: self._remote.send_part(upload, number, [data], checksum=value))
        self._sending.append((sending, self._buffer))
        if self._checksum is not None:
            self._whole = self._checksum.combine(self._whole, self._value, self._filled)
        self._value = self._filled = 0
        self._buffer = self._free.pop() if self._free else memoryview(mmap.mmap(-1, self._part_bytes))

    def _take(self) -> None:
        """Wait for the oldest part."""
        future, buffer = self._sending[0]
        self._parts.append(future.result())
        self._sending.popleft()
        self._free.append(buffer)

    def _complete(self, upload: Upload) -> None:
        value = self._packed(self._whole)
        try:
            self._loop.call(lambda: self._remote.complete_upload(upload, self._parts, checksum=value))
        except (Conflict, NotFound):
            # Perhaps this very request succeeded before, and its reply was lost.
            stored = self._loop.call(lambda: self._remote.stat(self._key))
            if stored.size != self.position or value is None or stored.checksum != value:
                raise

    def _packed(self, value: int) -> bytes | None:
        return None if self._checksum is None else value.to_bytes(self._checksum.size_bytes, "big")


class _Landing:
    """Memory for one range; what arrived before a connection broke is kept, because TCP delivers in order."""

    def __init__(self, length: int) -> None:
        self.memory = memoryview(bytearray(length))
        self._done = 0

    def buffer(self) -> memoryview:
        return self.memory[self._done :]

    def filled(self, count: int) -> None:
        self._done += count
        if self._done > len(self.memory):
            raise IntegrityError("more bytes arrived than were asked for")

    def rewind(self) -> int:
        return self._done


async def _any(remote: Remote, prefix: str) -> bool:
    listing: AsyncIterator[object] = remote.list(prefix)
    async for _ in listing:
        return True
    return False
