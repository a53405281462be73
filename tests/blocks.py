"""Position-dependent bytes: every 1 MiB block carries a file number and its own number, so a block at the wrong place
never goes unnoticed. No zeros, no repetition."""

from __future__ import annotations

import numpy as np

BLOCK_BYTES = 1 << 20


def block(file: int, index: int) -> bytes:
    """One block: 16 bytes that say where it belongs, then noise seeded by them."""
    label = f"{file:07d}:{index:07d}|".encode()
    return label + np.random.default_rng((file, index)).bytes(BLOCK_BYTES - len(label))


def content(file: int, size: int) -> bytes:
    """The first `size` bytes of file number `file`."""
    return b"".join(block(file, index) for index in range(-(-size // BLOCK_BYTES)))[:size]
