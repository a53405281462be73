"""The core in pure Python: for machines without a compiler, and the yardstick the compiled one is tested against.

Correct at any speed. Who needs CRC-64/NVME at line rate asks `checksum.fast_crc64nvme` first.
"""

from __future__ import annotations

from typing import TypeAlias

from bentosync.native.polynomial import Generator

Bytes: TypeAlias = bytes | bytearray | memoryview

CRC64NVME = Generator(bits=64, coefficients=0x9A6C9329AC4BC9B5)
"""NVM Command Set Specification 1.0, "64b CRC": 0xAD93D23594C93659, reflected."""

_ONES = (1 << 64) - 1
_TABLE = CRC64NVME.table()


def crc64nvme(data: Bytes, initial: int = 0) -> int:
    """CRC-64/NVME of `data`, or of what `initial` is the checksum of followed by `data`."""
    state = initial ^ _ONES
    for byte in memoryview(data).cast("B"):
        state = (state >> 8) ^ _TABLE[(state ^ byte) & 0xFF]
    return state ^ _ONES
