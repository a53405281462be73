"""What is remembered about a local version: its manifest, and the stamps that say for which files it still holds.

A record is a saving, never a source of truth: one that is missing, torn or of another format is as good as none.
Format: docs/formats/local-state.md.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from typing import Any

import blake3
from msgspec import Struct, field

from bentosync.errors import BentoMLException
from bentosync.manifest import decode, encode
from bentosync.manifest.values import Manifest

FORMAT = 1
BYTES_MAX = 128 << 20

SETTLED_NS = 2_000_000_000
"""A file changed later than this before it was hashed may change again within one tick of a coarse clock."""


class Stamp(Struct, frozen=True):
    """What changes when a file does. Not the device: its number changes with every mount."""

    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """The stamp of a file."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def settled(self, now_ns: int) -> bool:
        """Whether the file is old enough at `now_ns` for its stamp to be remembered."""
        return max(self.mtime_ns, self.ctime_ns) <= now_ns - SETTLED_NS


class Origin(Struct, frozen=True):
    """Where a pulled version came from; `pulled_at` in ISO 8601."""

    remote: str
    pulled_at: str


class PartChecksums(Struct, frozen=True):
    """What an upload tells a store about each part of a file: `values` is one checksum after the other, big-endian.

    Another cut than `part_bytes`, or another kind than `name`, makes them worthless, not wrong.
    """

    name: str
    part_bytes: int
    values: bytes


class Record(Struct, frozen=True):
    """A manifest, and stamps by path of the files whose digests were seen to be the manifest's.

    `parts`, by path, counts for files that have a stamp here, as long as that holds.
    """

    manifest: Manifest
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    origin: Origin | None = None
    parts: Mapping[str, PartChecksums] = field(default_factory=dict)


def dumps(record: Record) -> bytes:
    """The record's file."""
    head: dict[str, Any] = {"format": FORMAT, "manifest": record.manifest.pin}
    if record.origin is not None:
        head["origin"] = {"pulled_at": record.origin.pulled_at, "remote": record.origin.remote}
    head["stamps"] = {
        path: [stamp.ino, stamp.size, stamp.mtime_ns, stamp.ctime_ns] for path, stamp in record.stamps.items()
    }
    if record.parts:
        head["parts"] = {
            path: [parts.name, parts.part_bytes, base64.b64encode(parts.values).decode("ascii")]
            for path, parts in record.parts.items()
        }
    return encode.line(head) + encode.body(record.manifest)


class Vouched(Struct, frozen=True):
    """As much of a record as a load needs: the manifest is known to be whole, and is understood only if asked for.

    Decoding one takes a tenth of a second for 19,000 tensors; proving that its bytes are the digest's takes a
    hundredth of that.
    """

    name: str
    version: str
    digest: str
    stamps: Mapping[str, Stamp]
    origin: Origin | None
    parts: Mapping[str, PartChecksums]
    body: bytes

    def __repr__(self) -> str:
        return f"Vouched(name={self.name!r}, version={self.version!r}, digest={self.digest!r})"

    @property
    def manifest(self) -> Manifest:
        """Decode it. Raises UnsafeInput if the record was written by something that is not bentosync."""
        return decode.body(self.body)


def loads(data: bytes) -> Record | None:
    """The record; None if it is not whole or of another format."""
    line, _, body = data.partition(b"\n")
    try:
        pin, stamps, origin, parts = _head(line)
        manifest = decode.body(body)
        return Record(manifest, stamps, origin, parts) if pin == manifest.pin else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BentoMLException):
        return None


def vouched(data: bytes) -> Vouched | None:
    """The record without its manifest's contents; None if it is not whole or of another format."""
    line, _, body = data.partition(b"\n")
    try:
        pin, stamps, origin, parts = _head(line)
        card = json.loads(body.partition(b"\n")[0])
        digest = blake3.blake3(body).hexdigest()
        whole = pin == f"b3:{digest}"
        return Vouched(card["name"], card["version"], digest, stamps, origin, parts, body) if whole else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def still_held(known: Record | Vouched, stamps: Mapping[str, Stamp]) -> dict[str, PartChecksums]:
    """The checksums in `known` of files that have the same stamp in `stamps`."""
    return {path: parts for path, parts in known.parts.items() if path in stamps and known.stamps[path] == stamps[path]}


def _head(line: bytes) -> tuple[str, dict[str, Stamp], Origin | None, dict[str, PartChecksums]]:
    head = json.loads(line)
    if head["format"] != FORMAT:
        raise ValueError("another format")
    stamps = {str(path): Stamp(*map(int, values)) for path, values in head["stamps"].items()}
    parts = {
        str(path): PartChecksums(str(name), int(part_bytes), base64.b64decode(values, validate=True))
        for path, (name, part_bytes, values) in head.get("parts", {}).items()
        if path in stamps
    }
    return head["manifest"], stamps, Origin(**head["origin"]) if "origin" in head else None, parts
