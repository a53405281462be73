"""Archives made by hand, byte by byte, so that they can say what no honest tool writes. Independent of our writers."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

MODEL_YAML = b"""name: m
version: v1
module: ''
labels: {}
options: {}
metadata: {}
context:
  framework_name: ''
  framework_versions: {}
  bentoml_version: 1.4.39
  python_version: 3.11.7
signatures: {}
api_version: v1
creation_time: '2026-11-22T06:48:03.729032+00:00'
"""

END = bytes(1024)


def header(
    name: bytes, size: int = 0, kind: bytes = b"0", *, mode: int = 0o644, link: bytes = b"",
    magic: bytes = b"ustar\x0000", size_field: bytes | None = None, prefix: bytes = b"",
    checksum: int | None = None,
) -> bytes:  # fmt: skip
    """One tar header; `size_field` and `checksum` replace what is right."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = b"%07o\0" % mode
    block[108:124] = b"0000000\0" * 2
    block[124:136] = b"%011o\0" % size if size_field is None else size_field
    block[136:148] = b"00000000000\0"
    block[156:157] = kind
    block[157 : 157 + len(link)] = link
    block[257:265] = magic
    block[329:345] = b"0000000\0" * 2
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % (sum(block) if checksum is None else checksum)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: bytes, data: bytes = b"", kind: bytes = b"0", **more: Any) -> bytes:
    return header(name, len(data), kind, **more) + padded(data)


def record(keyword: bytes, value: bytes) -> bytes:
    rest = b" " + keyword + b"=" + value + b"\n"
    length = len(rest) + 1
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return b"%d" % length + rest


def pax(*records: bytes, kind: bytes = b"x") -> bytes:
    return member(b"pax", b"".join(records), kind)


MODEL = member(b"model.yaml", MODEL_YAML)


def tar(*members: bytes, end: bytes = END) -> bytes:
    """A tar file of a model, with `members` behind its model.yaml."""
    return MODEL + b"".join(members) + end


def local(name: bytes, data: bytes = b"", **more: Any) -> bytes:
    """A local zip header and what follows it."""
    return _local_head(name, data, **more) + _packed(data, more.get("method", 0))


def _packed(data: bytes, method: int) -> bytes:
    if method != 8:
        return data
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def _local_head(
    name: bytes, data: bytes, *, method: int = 0, flags: int = 0, size: int | None = None, packed: int | None = None,
    crc: int | None = None, extra: bytes = b"",
) -> bytes:  # fmt: skip
    return struct.pack(
        "<4sHHHHHIIIHH", b"PK\x03\x04", 20, flags, method, 0, 33,
        zlib.crc32(data) if crc is None else crc, len(_packed(data, method)) if packed is None else packed,
        len(data) if size is None else size, len(name), len(extra),
    ) + name + extra  # fmt: skip


def central(
    name: bytes, data: bytes = b"", offset: int = 0, *, method: int = 0, flags: int = 0, size: int | None = None,
    packed: int | None = None, crc: int | None = None, extra: bytes = b"", mode: int = 0o100644, disk: int = 0,
) -> bytes:  # fmt: skip
    return struct.pack(
        "<4sBBHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 3, 20, flags, method, 0, 33,
        zlib.crc32(data) if crc is None else crc, len(_packed(data, method)) if packed is None else packed,
        len(data) if size is None else size, len(name), len(extra), 0, disk, 0, mode << 16, offset,
    ) + name + extra  # fmt: skip


def ending(count: int, size: int, offset: int, comment: bytes = b"", disk: int = 0) -> bytes:
    return struct.pack("<4sHHHHIIH", b"PK\x05\x06", disk, disk, count, count, size, offset, len(comment)) + comment


def zipped(*entries: tuple[bytes, bytes, dict[str, Any], dict[str, Any]], gap: bytes = b"", **more: Any) -> bytes:
    """A zip file of a model; each further entry is (name, data, changes to the local header, to the central one)."""
    body, directory = b"", b""
    for name, data, here, there in ((b"model.yaml", MODEL_YAML, {}, {}), *entries):
        directory += central(name, data, len(body), **there)
        body += local(name, data, **here)
    body += gap
    return body + directory + ending(1 + len(entries), len(directory), len(body), **more)


def honest_zip(fill: Callable[[zipfile.ZipFile], None], **more: Any) -> bytes:
    """A zip file as Python's own library writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **more) as archive:
        archive.writestr("model.yaml", MODEL_YAML)
        fill(archive)
    return buffer.getvalue()


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=0)
