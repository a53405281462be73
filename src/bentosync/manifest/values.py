"""The manifest as values: what one version must be, byte for byte.

A manifest is an `Envelope` (who pushed it, outside the digest), a `Card` (what it is called) and the sorted file
entries. Everything here is immutable and free of IO; `encode` and `decode` turn it into canonical bytes and back.
Format: docs/formats/manifest.md.
"""

from __future__ import annotations

from typing import NamedTuple

import blake3
from msgspec import Struct

BLOCK_BYTES = 1 << 20
"""Unit of proof, of `pwrite` and of the resume bitmap; each block has an XXH3-64 digest (8 bytes, big-endian)."""

LEAF_BYTES = 8 << 20
"""Unit of cryptographic identity and of requests; each leaf has a BLAKE3 digest (32 bytes)."""

BLOCK_DIGEST_BYTES = 8
LEAF_DIGEST_BYTES = 32


class TensorSpec(NamedTuple):
    """One tensor of a safetensors file. `begin` and `end` are byte offsets into the data section.

    A tuple, because a model may have a hundred thousand: it is made in a quarter of the time of a frozen dataclass.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Tensor(NamedTuple):
    """A `TensorSpec` and the XXH3-128 of its bytes (16 bytes, big-endian).

    Fingerprints find candidates for reuse and prove nothing.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int
    fingerprint: bytes


class TensorTable(Struct, frozen=True):
    """The tensors of one safetensors file in the order of their bytes, ties by name.

    `data_offset` is where the data section starts in the file, in bytes.
    """

    data_offset: int
    tensors: tuple[Tensor, ...]


class FileEntry(Struct, frozen=True):
    """One regular file. `leaves` and `blocks` are packed digests in file order; an empty file has none."""

    path: str
    size: int
    executable: bool
    leaves: bytes
    blocks: bytes
    inline: bytes | None = None
    tensors: TensorTable | None = None

    def __repr__(self) -> str:
        return f"FileEntry(path={self.path!r}, size={self.size}, executable={self.executable})"

    @property
    def digest(self) -> bytes:
        """BLAKE3 over the leaf list (32 bytes): the file's identity."""
        return blake3.blake3(self.leaves).digest()

    def block_digest(self, index: int) -> bytes:
        """XXH3-64 of block `index` (8 bytes, big-endian)."""
        return self.blocks[index * BLOCK_DIGEST_BYTES : (index + 1) * BLOCK_DIGEST_BYTES]

    def leaf_digest(self, index: int) -> bytes:
        """BLAKE3 of leaf `index` (32 bytes)."""
        return self.leaves[index * LEAF_DIGEST_BYTES : (index + 1) * LEAF_DIGEST_BYTES]


class Card(Struct, frozen=True):
    """What the version is called and how big it is; small enough that a list reads only the first KiBs."""

    name: str
    version: str
    content: str
    size: int
    files: int
    created: str
    module: str
    labels: tuple[tuple[str, str], ...] = ()


class Envelope(Struct, frozen=True):
    """Who pushed these bytes, and where they lie. Not part of the digest: it differs from push to push."""

    push_id: str
    write_id: str
    pushed_by: str
    pushed_host: str
    pushed_at: str


class Manifest(Struct, frozen=True):
    """One version: its card, its files sorted by path, its empty directories sorted by path.

    `digest` is the pin without its prefix: BLAKE3 of the canonical body, 64 hexadecimal digits.
    """

    card: Card
    files: tuple[FileEntry, ...]
    directories: tuple[str, ...]
    digest: str

    @property
    def pin(self) -> str:
        """`b3:` + digest, as written after the `@` of a reference."""
        return f"b3:{self.digest}"
