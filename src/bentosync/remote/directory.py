"""A remote that is a folder: `file:///path`, on a local disk or a network mount.

An object is a regular file under its key. Files appear by link (only if the name is free) or rename (replace), always
whole and synced; replacing takes a lock, so that `IfMatch` compares and swaps in one step. Temporary files and
multipart uploads live in `<root>/.bentosync-uploads/`, outside every listing. Symbolic links, FIFOs and devices are
never followed or opened: this remote never makes them. Blocking calls run in worker threads (`blocking.in_thread`).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from bentosync.blocking import in_thread
from bentosync.errors import Conflict, IntegrityError, InvalidArgument, NotFound, UnsafeInput
from bentosync.native import checksum as checksums
from bentosync.remote import disk
from bentosync.remote.contract import (
    Access,
    Blob,
    Condition,
    Entity,
    IfAbsent,
    IfMatch,
    Located,
    Part,
    Properties,
    RangeSink,
    Stat,
    Upload,
)
from bentosync.remote.spool import Spool, digest
from bentosync.settings import NativeMode
from bentosync.wire.exchange import Extent
from bentosync.wire.rate import Limiter

T = TypeVar("T")

UPLOADS = ".bentosync-uploads"

_PART_BYTES_MIN = 1
_PARTS_MAX = 1_000_000
_STALE_SECONDS = 7 * 24 * 3600.0


class _Opened(Struct, frozen=True):
    """A file being read, and which state of it."""

    descriptor: int
    etag: str


class DirectoryRemote:
    """The `Remote` contract over a folder. The folder is made by the first write; reading never makes one."""

    def __init__(self, root: Path, *, native: NativeMode = "auto", limiter: Limiter | None = None) -> None:
        self._root = Path(os.path.realpath(root))
        self._limiter = limiter or Limiter(None)
        self._uploads = self._root / UPLOADS
        self._checksum = checksums.preferred(native=native)
        self._swept = False
        self._properties = Properties(
            url=self._root.as_uri(),
            checksum=self._checksum.name,
            part_bytes_min=_PART_BYTES_MIN,
            parts_max=_PARTS_MAX,
            put_bytes_max=1 << 53,
        )

    @property
    def properties(self) -> Properties:
        """Facts; the checksum is verified part by part, and for the whole object when an upload completes."""
        return self._properties

    async def read(self, key: str, *, bytes_max: int) -> Entity:
        """The whole file."""
        return await self._run(key, self._read, key, bytes_max)

    async def read_range(self, key: str, start: int, length: int, sink: RangeSink, *, etag: str | None = None) -> str:
        """The range, one sink buffer after the other; the file is opened once, so all bytes are of one object."""
        opened = await self._run(key, self._open_range, key, start, length, etag)
        try:
            end, offset = start + length, start
            while offset < end:
                view = sink.buffer()[: end - offset]
                count = await self._run(key, disk.read_exactly, opened.descriptor, view, offset)
                if count == 0:
                    raise IntegrityError(f"{key} ends at byte {offset}, expected {end}; somebody truncates it")
                sink.filled(count)
                offset += count
                await self._limiter.passed(count)
        finally:
            os.close(opened.descriptor)
        return opened.etag

    async def stat(self, key: str) -> Stat:
        """Size and ETag; a folder remembers no checksums."""
        return await self._run(key, self._stat, key)

    async def write(
        self,
        key: str,
        data: Sequence[memoryview] | bytes,
        *,
        condition: Condition = None,
        checksum: bytes | None = None,
    ) -> str:
        """A synced temporary file, then link (`IfAbsent`) or rename under the lock."""
        buffers = [memoryview(data)] if isinstance(data, bytes) else data
        await self._limiter.passed(sum(buffer.nbytes for buffer in buffers))
        return await self._run(key, self._write, key, buffers, condition, checksum)

    async def write_all(self, objects: Sequence[Blob], *, condition: Condition = None, jobs: int) -> Sequence[bool]:
        """All of them in one step of one thread, with one sync of the file system instead of one a file."""
        if condition is not None and not isinstance(condition, IfAbsent):
            return [False] * len(objects)
        await self._limiter.passed(sum(len(blob.data) for blob in objects))
        return await self._run(objects[0].key if objects else "", self._write_all, objects, condition)

    async def start_upload(self, key: str, *, size: int, part_bytes: int) -> Upload:
        """A preallocated file beside the objects."""
        self._path(key)
        spool = await self._run(key, Spool.create, self._uploads, key, size, part_bytes)
        return Upload(key, spool.id)

    async def send_part(
        self, upload: Upload, number: int, data: Sequence[memoryview] | Extent, *, checksum: bytes | None
    ) -> Part:
        """Write the part at its offset, sync it, journal it."""
        if isinstance(data, Extent):
            raise AssertionError("no upload into a folder takes extents")
        await self._limiter.passed(sum(buffer.nbytes for buffer in data))
        return await self._run(upload.key, lambda: self._spool(upload).store(number, data, checksum, self._checksum))

    async def list_parts(self, upload: Upload) -> list[Part]:
        """What the journal holds."""
        return await self._run(upload.key, lambda: self._spool(upload).parts())

    async def complete_upload(self, upload: Upload, parts: Sequence[Part], *, checksum: bytes | None) -> str:
        """Check size and checksum, sync, link to the key, drop the upload."""
        return await self._run(upload.key, self._complete, upload, parts, checksum)

    async def abort_upload(self, upload: Upload) -> None:
        """Drop the upload's folder."""
        with contextlib.suppress(NotFound):
            await self._run(upload.key, lambda: self._spool(upload).remove())

    async def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        """Uploads whose key starts with `prefix`, in the order of their ids."""
        for name in await self._run(prefix, _names, self._uploads):
            with contextlib.suppress(NotFound):
                spool = await self._run(prefix, Spool.open, self._uploads, name)
                if spool.key.startswith(prefix):
                    yield Upload(spool.key, spool.id)

    async def list(self, prefix: str) -> AsyncIterator[Stat]:
        """Files below `prefix` in key order, read folder by folder while the caller consumes them."""
        parent, _, _ = prefix.rpartition("/")
        pending = [f"{parent}/" if parent else ""]
        while pending:
            key = pending.pop()
            if not key or key.endswith("/"):
                pending.extend(reversed(await self._run(key, self._children, key, prefix)))
            else:
                with contextlib.suppress(NotFound):
                    yield await self._run(key, self._stat, key)

    async def delete(self, key: str, *, condition: IfMatch | None = None) -> None:
        """Unlink, then remove the folders that this left empty."""
        with contextlib.suppress(NotFound):
            await self._run(key, self._delete, key, condition)

    async def locate(self, key: str) -> Located | None:
        """A file system copies nothing by itself."""
        return None

    async def copy(self, source: Located, key: str, *, size: int) -> bool:
        """As `locate`."""
        return False

    async def place(self) -> str:
        """The URL."""
        return self._properties.url

    async def access(self) -> Access:
        """Nothing but the folder."""
        return Access()

    async def conditional_writes(self) -> bool:
        """True: links are exclusive, and replacing takes a lock."""
        return True

    async def aclose(self) -> None:
        """Nothing is held open."""

    async def _run(self, what: str, call: Callable[..., T], *args: object) -> T:
        """Run a blocking step about `what` in a worker thread, its errors translated."""

        def step() -> T:
            with disk.translated(f"{what or '/'} in {self._properties.url}"):
                return call(*args)

        return await in_thread(step)

    def _path(self, key: str) -> Path:
        """Where `key` lies. Keys come checked; what would leave the root or touch our own files is refused anyway."""
        components = key.split("/")
        if any(part in ("", ".", "..") for part in components) or components[0] == UPLOADS or "\0" in key:
            raise UnsafeInput(f"Key {key!r} is not one a folder can hold")
        return self._root.joinpath(*components)

    def _solid(self, key: str) -> Path:
        """As `_path`, with no symbolic link among the folders above the file."""
        path = self._path(key)
        if os.path.realpath(path.parent) != str(path.parent):
            raise UnsafeInput(f"{path.parent} is reached through a symbolic link, which a folder remote never makes")
        return path

    def _read(self, key: str, bytes_max: int) -> Entity:
        descriptor = disk.open_regular(self._solid(key))
        try:
            status = os.fstat(descriptor)
            if status.st_size > bytes_max:
                raise UnsafeInput(f"{key} is {status.st_size} bytes, more than the {bytes_max} it may be")
            data = bytearray(status.st_size)
            if disk.read_exactly(descriptor, memoryview(data), 0) != len(data):
                raise IntegrityError(f"{key} became shorter while it was read", retryable=True)
            return Entity(bytes(data), disk.etag(status))
        finally:
            os.close(descriptor)

    def _open_range(self, key: str, start: int, length: int, etag: str | None) -> _Opened:
        descriptor = disk.open_regular(self._solid(key))
        try:
            status = os.fstat(descriptor)
            if etag is not None and disk.etag(status) != etag:
                raise Conflict(f"{key} was replaced while it was read", hint="start again")
            if start + length > status.st_size:
                raise IntegrityError(f"{key} is {status.st_size} bytes, expected at least {start + length}")
            return _Opened(descriptor, disk.etag(status))
        except BaseException:
            os.close(descriptor)
            raise

    def _stat(self, key: str) -> Stat:
        status = os.lstat(self._solid(key))
        if stat.S_ISDIR(status.st_mode):
            raise NotFound(f"{key} does not exist in {self._properties.url}")
        if not stat.S_ISREG(status.st_mode):
            raise UnsafeInput(f"{key} in {self._properties.url} is not a regular file")
        return Stat(key, status.st_size, disk.etag(status), status.st_mtime)

    def _write(self, key: str, buffers: Sequence[memoryview], condition: Condition, checksum: bytes | None) -> str:
        self._sweep()
        path = self._solid(key)
        if checksum is not None and checksum != digest(buffers, self._checksum):
            raise IntegrityError(f"{key} changed while it was written", retryable=True)
        temporary = disk.write_temporary(self._uploads, buffers)
        try:
            etag = disk.etag(os.lstat(temporary))
            if isinstance(condition, IfAbsent):
                disk.publish_new(temporary, path)
                return etag
            with disk.locked(self._uploads / "lock"):
                if isinstance(condition, IfMatch) and self._current_etag(key) != condition.etag:
                    raise Conflict(f"{key} was changed by somebody else", hint="read it again, then decide")
                disk.publish_over(temporary, path)
            return etag
        finally:
            temporary.unlink(missing_ok=True)

    def _write_all(self, objects: Sequence[Blob], condition: Condition) -> Sequence[bool]:
        self._sweep()
        names = {blob.key: self._path(blob.key) for blob in objects}
        folders = {path.parent for path in names.values()}
        if any(os.path.realpath(folder) != str(folder) for folder in folders):
            return [False] * len(objects)
        for blob in objects:
            if blob.checksum is not None and blob.checksum != digest([blob.data], self._checksum):
                return [False] * len(objects)
        disk.make_folder(self._uploads)
        with disk.together(self._uploads, [blob.data for blob in objects]) as temporaries:
            return disk.publish_together(temporaries, list(names.values()), replace=condition is None)

    def _sweep(self) -> None:
        """Once: remove what writers that died long ago left behind."""
        if not self._swept:
            self._swept = True
            disk.sweep_temporary(self._uploads, age_seconds=_STALE_SECONDS)

    def _current_etag(self, key: str) -> str | None:
        try:
            return self._stat(key).etag
        except (FileNotFoundError, NotADirectoryError, NotFound):
            return None

    def _spool(self, upload: Upload) -> Spool:
        spool = Spool.open(self._uploads, upload.id)
        if spool.key != upload.key:
            raise InvalidArgument(f"Upload {upload.id} is not one of {upload.key}")
        return spool

    def _complete(self, upload: Upload, parts: Sequence[Part], checksum: bytes | None) -> str:
        spool = self._spool(upload)
        spool.check(parts, checksum, self._checksum)
        path = self._solid(upload.key)
        descriptor = disk.open_regular(spool.data, os.O_RDWR)
        try:
            with spool.dropped_on_error():
                disk.seal(descriptor)
            etag = disk.etag(os.fstat(descriptor))
        finally:
            os.close(descriptor)
        disk.publish_new(spool.data, path)
        spool.remove()
        return etag

    def _delete(self, key: str, condition: IfMatch | None) -> None:
        self._stat(key)
        path = self._solid(key)
        with disk.locked(self._uploads / "lock"):
            if condition is not None and self._current_etag(key) not in (None, condition.etag):
                raise Conflict(f"{key} was changed by somebody else", hint="read it again, then decide")
            path.unlink()
            disk.sync_folder(path.parent)
        disk.remove_empty_parents(path.parent, self._root)

    def _children(self, folder: str, prefix: str) -> Sequence[str]:
        """What lies in `folder` and may lead to keys that start with `prefix`, in key order; folders end with `/`."""
        base = self._root / folder
        if os.path.realpath(base) != os.path.normpath(base):
            return []
        found = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(base) as entries:
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                if not is_folder and not entry.is_file(follow_symlinks=False):
                    continue
                key = f"{folder}{entry.name}/" if is_folder else f"{folder}{entry.name}"
                if key != f"{UPLOADS}/" and (key.startswith(prefix) or (is_folder and prefix.startswith(key))):
                    found.append(key)
        return sorted(found, key=os.fsencode)


def _names(folder: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(os.listdir(folder))
    return []
