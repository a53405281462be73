"""The digests of a file's bytes, as manifests pack them."""

from __future__ import annotations

import blake3
import xxhash

from bentosync.manifest.values import BLOCK_BYTES, LEAF_BYTES


def block_digest(data: bytes | bytearray | memoryview) -> bytes:
    """XXH3-64, seed 0, of at most one block (8 bytes, big-endian)."""
    return xxhash.xxh3_64_digest(data)


def leaf_digest(data: bytes | bytearray | memoryview) -> bytes:
    """BLAKE3-256 of at most one leaf (32 bytes)."""
    return blake3.blake3(data).digest()


def packed(data: bytes | bytearray | memoryview) -> tuple[bytes, bytes]:
    """Leaves and blocks of a whole small file, packed in file order."""
    view = memoryview(data)
    leaves = b"".join(leaf_digest(view[at : at + LEAF_BYTES]) for at in range(0, len(view), LEAF_BYTES))
    blocks = b"".join(block_digest(view[at : at + BLOCK_BYTES]) for at in range(0, len(view), BLOCK_BYTES))
    return leaves, blocks
