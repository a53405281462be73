"""One debug line for every call to a remote: what, on which key, how long, and how it ended.

Keys and sizes are logged, contents, signatures and credentials are not: they are below this decorator.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING

from bentosync.remote.contract import (
    Access,
    Blob,
    Condition,
    Entity,
    IfMatch,
    Located,
    Part,
    Properties,
    RangeSink,
    Remote,
    Stat,
    Upload,
)
from bentosync.wire.exchange import Extent

if TYPE_CHECKING:
    import builtins

_LOG = logging.getLogger("bentosync")


class TracingRemote:
    """`inner`, observed."""

    def __init__(self, inner: Remote) -> None:
        self._inner = inner

    @property
    def properties(self) -> Properties:
        """Those of the inner remote."""
        return self._inner.properties

    async def read(self, key: str, *, bytes_max: int) -> Entity:
        """Traced."""
        with self._traced("read", key):
            return await self._inner.read(key, bytes_max=bytes_max)

    async def read_range(self, key: str, start: int, length: int, sink: RangeSink, *, etag: str | None = None) -> str:
        """Traced."""
        with self._traced("read_range", key, start, length):
            return await self._inner.read_range(key, start, length, sink, etag=etag)

    async def stat(self, key: str) -> Stat:
        """Traced."""
        with self._traced("stat", key):
            return await self._inner.stat(key)

    async def write(
        self,
        key: str,
        data: Sequence[memoryview] | bytes,
        *,
        condition: Condition = None,
        checksum: bytes | None = None,
    ) -> str:
        """Traced."""
        with self._traced("write", key, condition):
            return await self._inner.write(key, data, condition=condition, checksum=checksum)

    async def write_all(self, objects: Sequence[Blob], *, condition: Condition = None, jobs: int) -> Sequence[bool]:
        """Traced as one."""
        with self._traced("write_all", objects[0].key if objects else "", len(objects), condition):
            return await self._inner.write_all(objects, condition=condition, jobs=jobs)

    async def start_upload(self, key: str, *, size: int, part_bytes: int) -> Upload:
        """Traced."""
        with self._traced("start_upload", key, size, part_bytes):
            return await self._inner.start_upload(key, size=size, part_bytes=part_bytes)

    async def send_part(
        self, upload: Upload, number: int, data: Sequence[memoryview] | Extent, *, checksum: bytes | None
    ) -> Part:
        """Traced."""
        with self._traced("send_part", upload.key, number):
            return await self._inner.send_part(upload, number, data, checksum=checksum)

    async def list_parts(self, upload: Upload) -> builtins.list[Part]:
        """Traced."""
        with self._traced("list_parts", upload.key):
            return await self._inner.list_parts(upload)

    async def complete_upload(self, upload: Upload, parts: Sequence[Part], *, checksum: bytes | None) -> str:
        """Traced."""
        with self._traced("complete_upload", upload.key, len(parts)):
            return await self._inner.complete_upload(upload, parts, checksum=checksum)

    async def abort_upload(self, upload: Upload) -> None:
        """Traced."""
        with self._traced("abort_upload", upload.key):
            await self._inner.abort_upload(upload)

    async def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        """Traced."""
        with self._traced("list_uploads", prefix):
            async for upload in self._inner.list_uploads(prefix):
                yield upload

    async def list(self, prefix: str) -> AsyncIterator[Stat]:
        """Traced."""
        with self._traced("list", prefix):
            async for found in self._inner.list(prefix):
                yield found

    async def delete(self, key: str, *, condition: IfMatch | None = None) -> None:
        """Traced."""
        with self._traced("delete", key):
            await self._inner.delete(key, condition=condition)

    async def locate(self, key: str) -> Located | None:
        """As the inner remote says."""
        return await self._inner.locate(key)

    async def copy(self, source: Located, key: str, *, size: int) -> bool:
        """Traced."""
        with self._traced("copy", source.path, key, size):
            return await self._inner.copy(source, key, size=size)

    async def place(self) -> str:
        """As the inner remote says."""
        return await self._inner.place()

    async def access(self) -> Access:
        """As the inner remote says."""
        return await self._inner.access()

    async def conditional_writes(self) -> bool:
        """Traced."""
        with self._traced("conditional_writes"):
            return await self._inner.conditional_writes()

    async def aclose(self) -> None:
        """Close the inner remote."""
        await self._inner.aclose()

    @contextlib.contextmanager
    def _traced(self, call: str, *details: object) -> Iterator[None]:
        if not _LOG.isEnabledFor(logging.DEBUG):
            yield
            return
        begun = time.monotonic()
        outcome = "ok"
        try:
            yield
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
            raise
        finally:
            seconds = time.monotonic() - begun
            _LOG.debug("%s %s %.3f s %s", call, " ".join(map(str, details)), seconds, outcome)
