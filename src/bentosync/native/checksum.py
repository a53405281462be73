"""The full-object checksums that S3 verifies when an upload completes, by the name S3 gives them.

Both are CRCs, so the checksums of parts join into that of the object without another look at its bytes. CRC64NVME
comes from the fastest of: the compiled core, `awscrt` where it happens to be installed, the twin. CRC32 is zlib's.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Literal, TypeAlias

from msgspec import Struct

from bentosync.native import select, twin
from bentosync.native.polynomial import Generator
from bentosync.native.twin import Bytes
from bentosync.settings.values import NativeMode

ChecksumName = Literal["crc64nvme", "crc32"]
Update: TypeAlias = Callable[[Bytes, int], int]

_CRC32 = Generator(bits=32, coefficients=0xEDB88320)


class Checksum(Struct, frozen=True):
    """One kind of checksum. Values are unsigned integers; S3 writes them as `size_bytes` big-endian bytes in base64."""

    name: ChecksumName
    size_bytes: int
    _generator: Generator
    _update: Update

    def update(self, data: Bytes, value: int = 0) -> int:
        """The checksum of `data`, or of what `value` is the checksum of followed by `data`. `data` is contiguous."""
        return self._update(data, value)

    def combine(self, first: int, second: int, second_bytes: int) -> int:
        """The checksum of two pieces in a row, from theirs; `second_bytes` is the length of the second."""
        return self._generator.append(first, second_bytes) ^ second


def named(name: ChecksumName, *, native: NativeMode = "auto") -> Checksum:
    """The checksum called `name`, computed the fastest way that `native` allows.

    Raises:
        MissingExtra: `native` is "on" and there is no compiled core.
    """
    if name == "crc32":
        return Checksum(name, 4, _CRC32, zlib.crc32)
    return Checksum(name, 8, twin.CRC64NVME, _fast(native) or twin.crc64nvme)


def preferred(*, native: NativeMode = "auto") -> Checksum:
    """What uploads should carry: CRC64NVME where it costs next to nothing, else CRC32."""
    return named("crc64nvme" if fast_crc64nvme(native=native) else "crc32", native=native)


def fast_crc64nvme(*, native: NativeMode = "auto") -> bool:
    """Whether CRC64NVME costs next to nothing here. If not, CRC32 is the better checksum for uploads."""
    return _fast(native) is not None


def _fast(native: NativeMode) -> Update | None:
    if select.compiled(native):
        return select.core(native).crc64nvme
    return _from_awscrt() if native == "auto" else None


def _from_awscrt() -> Update | None:
    try:
        from awscrt import checksums
    except ImportError:
        return None
    update: Update | None = getattr(checksums, "crc64nvme", None)
    return update
