"""The digests of a file's bytes, as manifests pack them, and the one place where bytes are held against a manifest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import blake3
import xxhash

from bentosync.manifest.values import BLOCK_BYTES, LEAF_BYTES, FileEntry


class Difference(NamedTuple):
    """Bytes [begin, end) of a file whose digest is not the manifest's."""

    begin: int
    end: int
    kind: Literal["XXH3", "BLAKE3"]
    expected: bytes
    seen: bytes


def block_digest(data: bytes | bytearray | memoryview) -> bytes:
    """XXH3-64, seed 0, of at most one block (8 bytes, big-endian)."""
    return xxhash.xxh3_64_digest(data)


def leaf_digest(data: bytes | bytearray | memoryview) -> bytes:
    """BLAKE3-256 of at most one leaf (32 bytes)."""
    return blake3.blake3(data).digest()


def unit_bytes(*, strong: bool) -> int:
    """How many bytes are proven together: a leaf where its BLAKE3 is wanted, else a block."""
    return LEAF_BYTES if strong else BLOCK_BYTES


def packed(data: bytes | bytearray | memoryview) -> tuple[bytes, bytes]:
    """Leaves and blocks of a whole small file, packed in file order."""
    view = memoryview(data)
    leaves = b"".join(leaf_digest(view[at : at + LEAF_BYTES]) for at in range(0, len(view), LEAF_BYTES))
    blocks = b"".join(block_digest(view[at : at + BLOCK_BYTES]) for at in range(0, len(view), BLOCK_BYTES))
    return leaves, blocks


def differing_blocks(entry: FileEntry, offset: int, data: memoryview) -> Iterator[Difference]:
    """The blocks of `data` that are not the manifest's.

    Args:
        entry: What the file must be.
        offset: Where in the file `data` lies: at the edge of a block.
        data: Ends at such an edge, or with the file.
    """
    for begin in range(0, len(data), BLOCK_BYTES):
        block, place = data[begin : begin + BLOCK_BYTES], offset + begin
        seen, expected = block_digest(block), entry.block_digest(place // BLOCK_BYTES)
        if seen != expected:
            yield Difference(place, place + len(block), "XXH3", expected, seen)


def differing_leaves(entry: FileEntry, offset: int, data: memoryview) -> Iterator[Difference]:
    """As `differing_blocks`, by leaves: `data` starts and ends at the edge of one, or with the file."""
    for begin in range(0, len(data), LEAF_BYTES):
        leaf, place = data[begin : begin + LEAF_BYTES], offset + begin
        seen, expected = leaf_digest(leaf), entry.leaf_digest(place // LEAF_BYTES)
        if seen != expected:
            yield Difference(place, place + len(leaf), "BLAKE3", expected, seen)


def differences(entry: FileEntry, offset: int, data: memoryview, *, strong: bool) -> Iterator[Difference]:
    """Everything in `data` that is not the manifest's; nothing where it is proven.

    Blocks are named first, because they say best where it is. With `strong`, when `data` lies on edges of leaves, a
    leaf none of whose blocks differs must have its BLAKE3 as well.
    """
    if not strong:
        yield from differing_blocks(entry, offset, data)
        return
    for begin in range(0, len(data), LEAF_BYTES):
        leaf = data[begin : begin + LEAF_BYTES]
        blocks = list(differing_blocks(entry, offset + begin, leaf))
        yield from blocks or differing_leaves(entry, offset + begin, leaf)
