"""Zstandard, which Python has had since 3.14 and `backports.zstd` brings to older ones under the same names."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from bentosync.errors import MissingExtra
from bentosync.formats.archive.member import Bytes

LEVEL = 1
"""As fast as most disks; weights hardly get smaller with more."""
LEVEL_SMALL = 12
_WINDOW_LOG_MAX = 27
"""128 MiB, which is also the most that the zstd program takes unless it is told to."""


def library() -> Any:
    """The module.

    Raises:
        MissingExtra: There is none.
    """
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingExtra("zst archives need backports.zstd, which is not installed", hint='pip install "bentosync[zstd]"')


def decoder() -> Any:
    """A decoder of one frame, in the shape of those for xz and bzip2."""
    found = library()
    return found.ZstdDecompressor(options={found.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX})


def compressor(level: int) -> Callable[[Bytes, bool], bytes]:
    """What makes a frame of a piece, with its size and a checksum."""
    found = library()
    options = {found.CompressionParameter.compression_level: level, found.CompressionParameter.checksum_flag: 1}

    def compress(piece: Bytes, last: bool) -> bytes:
        frame: bytes = found.compress(piece, options=options)
        return frame

    return compress
