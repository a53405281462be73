"""What a bucket holds: objects and uploads in flight, in memory. Values are immutable, so a copy of the two dicts is a
snapshot."""

from __future__ import annotations

import base64
import hashlib
import itertools
import time
import zlib
from dataclasses import dataclass, field, replace

import awscrt.checksums

CHECKSUMS = ("crc64nvme", "crc32")


@dataclass(frozen=True)
class Object:
    """Stored bytes. `checksum` is (name, base64 value) of the full object."""

    data: bytes
    etag: str
    modified: float
    checksum: tuple[str, str] | None = None


@dataclass(frozen=True)
class Pending:
    """A multipart upload in flight and its parts by number."""

    key: str
    checksum: str | None
    parts: dict[int, Object] = field(default_factory=dict)


@dataclass
class Bucket:
    """Objects by key, uploads by id."""

    objects: dict[str, Object] = field(default_factory=dict)
    uploads: dict[str, Pending] = field(default_factory=dict)
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def snapshot(self) -> Bucket:
        """The same contents, to go back to or to compare with."""
        uploads = {name: replace(pending, parts=dict(pending.parts)) for name, pending in self.uploads.items()}
        return Bucket(dict(self.objects), uploads, self._ids)

    def become(self, past: Bucket) -> None:
        """Go back to a snapshot."""
        then = past.snapshot()
        self.objects, self.uploads = then.objects, then.uploads

    def put(self, key: str, data: bytes, *, etag: str | None = None, checksum: str | None = None) -> Object:
        """Store `data` whole, with a checksum of the kind named."""
        stored = Object(data, etag or etag_of(data), time.time(), checksum_of(data, checksum))
        self.objects[key] = stored
        return stored

    def start(self, key: str, checksum: str | None) -> str:
        """A new upload's id."""
        name = f"upload-{next(self._ids)}"
        self.uploads[name] = Pending(key, checksum)
        return name


def etag_of(data: bytes) -> str:
    """MD5 in quotes, as S3 does without KMS."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def checksum_of(data: bytes, name: str | None) -> tuple[str, str] | None:
    """(name, base64) of a full-object checksum; Amazon's own library computes it, not ours."""
    match name:
        case "crc64nvme":
            value = awscrt.checksums.crc64nvme(data).to_bytes(8, "big")
        case "crc32":
            value = zlib.crc32(data).to_bytes(4, "big")
        case _:
            return None
    return name, base64.b64encode(value).decode()
