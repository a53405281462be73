"""The formats of archives by name, by extension, and by their first bytes."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias, get_args

from bentosync.formats.archive import tar_header

Format: TypeAlias = Literal["bentomodel", "xz", "gz", "bz2", "zst", "tar", "zip", "folder"]
Container: TypeAlias = Literal["xz", "gz", "bz2", "zst", "tar", "zip", "folder"]

FORMATS: tuple[Format, ...] = get_args(Format)
HEAD_BYTES = tar_header.BLOCK_BYTES

_SHORT: dict[str, Format] = {"tgz": "gz", "txz": "xz", "tbz2": "bz2", "tbz": "bz2", "tzst": "zst"}
_MAGIC: tuple[tuple[bytes, Container], ...] = (
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x1f\x8b", "gz"),
    (b"BZh", "bz2"),
    (b"\x28\xb5\x2f\xfd", "zst"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
)
# Parallel compressors of zstd begin with a frame that readers skip.
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")


def container(name: Format) -> Container:
    """What the format is made of."""
    return "xz" if name == "bentomodel" else name


def named(file_name: str) -> Format | None:
    """The format that the last extension of a file name stands for."""
    extension = file_name.rpartition(".")[2] if "." in file_name else ""
    if extension in _SHORT:
        return _SHORT[extension]
    return next((name for name in FORMATS if name == extension and name != "folder"), None)


def sniffed(head: bytes) -> Container | None:
    """The container that starts with these bytes (`HEAD_BYTES` of them, or all there are)."""
    # A tar file begins with the name of a member, which may look like anything; its checksum cannot.
    if tar_header.is_header(head):
        return "tar"
    if _SKIPPABLE.match(head):
        return "zst"
    return next((found for magic, found in _MAGIC if head.startswith(magic)), None)
