"""Multipart uploads into a folder: one preallocated file per upload, and a journal of the parts that are in it.

```
<root>/.bentosync-uploads/<id>/upload.json   key, size and part size: enough for another process to go on
<root>/.bentosync-uploads/<id>/data          the object at full size; part n lies at (n - 1) * part_bytes
<root>/.bentosync-uploads/<id>/parts         one line a stored part, appended after the part itself is synced
```
A journal line is checked by its own CRC, so a torn line costs one part sent again, never a part believed in error.
Blocking; runs in worker threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from bentosync.errors import IntegrityError, InvalidArgument, NotFound
from bentosync.native.checksum import Checksum
from bentosync.remote import disk
from bentosync.remote.contract import Part

_ID = re.compile(r"[0-9a-f]{32}")
_DOCUMENT_BYTES_MAX = 1 << 16
_LINE_BYTES_MAX = 200


class Spool(Struct, frozen=True):
    """One upload in flight, below `folder`."""

    folder: Path
    key: str
    size: int
    part_bytes: int

    @classmethod
    def create(cls, uploads: Path, key: str, size: int, part_bytes: int) -> Spool:
        """A new, empty upload; its full size is taken from the disk at once, so that no space fails early."""
        spool = cls(uploads / secrets.token_hex(16), key, size, part_bytes)
        disk.make_folder(uploads)
        staging = uploads / f"tmp-{spool.folder.name}"
        staging.mkdir()
        try:
            _preallocate(staging / "data", size)
            (staging / "parts").touch()
            document = json.dumps({"key": key, "part_bytes": part_bytes, "size": size})
            (staging / "upload.json").write_text(document, encoding="utf-8")
            staging.replace(spool.folder)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        return spool

    @classmethod
    def open(cls, uploads: Path, identity: str) -> Spool:
        """The upload with this id. Raises `NotFound` if it is gone, or was never whole."""
        folder = uploads / identity
        try:
            if not _ID.fullmatch(identity):
                raise ValueError(identity)
            with (folder / "upload.json").open("rb") as file:
                document = json.loads(file.read(_DOCUMENT_BYTES_MAX))
            return cls(folder, str(document["key"]), int(document["size"]), int(document["part_bytes"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotFound(f"Upload {identity} does not exist", hint="start the upload again") from error

    @property
    def id(self) -> str:
        """Names the upload within its folder."""
        return self.folder.name

    @property
    def data(self) -> Path:
        """The file that becomes the object."""
        return self.folder / "data"

    def parts_total(self) -> int:
        """How many parts make the object."""
        return max(1, -(-self.size // self.part_bytes))

    def part_size(self, number: int) -> int:
        """Bytes of part `number`: all alike but the last."""
        return min(self.part_bytes, self.size - (number - 1) * self.part_bytes)

    def store(self, number: int, buffers: Sequence[memoryview], checksum: bytes | None, kind: Checksum) -> Part:
        """Write one part, sync it, then journal it."""
        size = sum(buffer.nbytes for buffer in buffers)
        if not 1 <= number <= self.parts_total() or size != self.part_size(number):
            raise InvalidArgument(f"Part {number} of {self.key} has {size} bytes, not what the upload was started with")
        if checksum is not None and checksum != digest(buffers, kind):
            raise IntegrityError(f"Part {number} of {self.key} changed while it was written", retryable=True)
        part = Part(number, size, secrets.token_hex(8), checksum)
        with self._gone_is_not_found():
            descriptor = disk.open_regular(self.data, os.O_WRONLY)
            try:
                disk.write_all(descriptor, buffers, (number - 1) * self.part_bytes)
                with self.dropped_on_error():
                    os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
            self._append(part)
        return part

    @contextlib.contextmanager
    def dropped_on_error(self) -> Iterator[None]:
        """For syncs: after one that failed the kernel may have lost any bytes, and may call the next one a success."""
        try:
            yield
        except OSError:
            self.remove()
            raise

    def parts(self) -> list[Part]:
        """Every journalled part, by number; of a repeated number the last line counts."""
        with self._gone_is_not_found(), (self.folder / "parts").open("rb") as file:
            data = file.read(self.parts_total() * _LINE_BYTES_MAX * 4)
        found = {part.number: part for part in map(_parse_line, data.splitlines()) if part is not None}
        return [found[number] for number in sorted(found)]

    def check(self, parts: Sequence[Part], checksum: bytes | None, kind: Checksum) -> None:
        """Refuse to make an object of anything but all the parts as journalled, with this full-object checksum."""
        stored = {part.number: part for part in self.parts()}
        if [part.number for part in parts] != list(range(1, self.parts_total() + 1)):
            raise InvalidArgument(f"{self.key} needs parts 1 to {self.parts_total()}, in order, to be complete")
        for part in parts:
            if part.number not in stored or stored[part.number].etag != part.etag:
                raise InvalidArgument(f"Part {part.number} of {self.key} is not the one that was stored")
        if self.data.stat().st_size != self.size:
            raise IntegrityError(f"Upload of {self.key} is {self.data.stat().st_size} bytes, expected {self.size}")
        whole = _combined([stored[part.number] for part in parts], kind)
        if checksum is not None and whole is not None and whole != checksum:
            raise IntegrityError(
                f"Upload of {self.key} has {kind.name} {whole.hex()}, expected {checksum.hex()}",
                hint="the file changed while it was pushed; push again",
            )

    def remove(self) -> None:
        """Drop the upload and its parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _append(self, part: Part) -> None:
        checksum = "-" if part.checksum is None else part.checksum.hex()
        body = f"{part.number} {part.size} {part.etag} {checksum}"
        # The line before may have been torn by a death: it must not take this one with it.
        line = f"\n{body} {zlib.crc32(body.encode()):08x}\n".encode()
        descriptor = os.open(self.folder / "parts", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _gone_is_not_found(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(f"Upload {self.id} of {self.key} does not exist", hint="start the upload again") from error


def _parse_line(line: bytes) -> Part | None:
    body, _, check = line.rpartition(b" ")
    fields = body.split(b" ")
    if len(fields) != 4 or check != b"%08x" % zlib.crc32(body):
        return None
    number, size, etag, checksum = (field.decode("ascii") for field in fields)
    return Part(int(number), int(size), etag, None if checksum == "-" else bytes.fromhex(checksum))


def _preallocate(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def digest(buffers: Sequence[memoryview], kind: Checksum) -> bytes:
    """The checksum of the buffers one after the other."""
    value = 0
    for buffer in buffers:
        value = kind.update(buffer, value)
    return value.to_bytes(kind.size_bytes, "big")


def _combined(parts: Sequence[Part], kind: Checksum) -> bytes | None:
    """The checksum of the parts one after the other, or None if one of them was stored without."""
    value = 0
    for part in parts:
        if part.checksum is None:
            return None
        value = kind.combine(value, int.from_bytes(part.checksum, "big"), part.size)
    return value.to_bytes(kind.size_bytes, "big")
