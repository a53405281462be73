"""Arithmetic of CRCs: polynomials over GF(2) modulo a generator.

A reflected CRC of w bits is the remainder of the message times x^w; bit w-1 of the value is the coefficient of x^0.
Appending n bytes to a message multiplies its remainder by x^(8n), which is all that is needed to join the checksums
of two pieces without their bytes. That product is computed byte by byte from tables, made once per distance:
an upload has one part size and one remainder, so thousands of parts cost microseconds each.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from msgspec import Struct

Tables: TypeAlias = tuple[tuple[int, ...], ...]


class Generator(Struct, frozen=True):
    """The polynomial one divides by: its degree, and its other coefficients reflected."""

    bits: int
    coefficients: int

    @property
    def one(self) -> int:
        """The polynomial 1."""
        return 1 << (self.bits - 1)

    def times_x(self, value: int) -> int:
        """`value` times x."""
        return (value >> 1) ^ (self.coefficients if value & 1 else 0)

    def product(self, left: int, right: int) -> int:
        """`left` times `right`."""
        total = 0
        bit = self.one
        while bit and right:
            if left & bit:
                total ^= right
            right = self.times_x(right)
            bit >>= 1
        return total

    def power_of_x(self, exponent: int) -> int:
        """The power x^exponent, by repeated squaring."""
        result, square = self.one, self.one >> 1
        while exponent:
            if exponent & 1:
                result = self.product(result, square)
            square = self.product(square, square)
            exponent >>= 1
        return result

    def table(self) -> tuple[int, ...]:
        """For every byte, its remainder: the table of the byte-by-byte algorithm."""
        return _multiples(self, self.power_of_x(self.bits))

    def append(self, value: int, size_bytes: int) -> int:
        """`value` times x^(8 * size_bytes): the remainder of a message after that many zero bytes."""
        result = 0
        for table in _shift_tables(self, size_bytes):
            result ^= table[value & 0xFF]
            value >>= 8
        return result


def _multiples(generator: Generator, factor: int) -> tuple[int, ...]:
    """For every byte b, seen as a polynomial of degree 7 whose constant term is bit 7: b times `factor`."""
    row = [0] * 256
    bit = 0x80
    while bit:
        row[bit] = factor
        for lower in range(bit << 1, 256, bit << 1):
            row[lower | bit] = row[lower] ^ factor
        factor = generator.times_x(factor)
        bit >>= 1
    return tuple(row)


@lru_cache(maxsize=32)
def _shift_tables(generator: Generator, size_bytes: int) -> Tables:
    """One table per byte of a remainder, least significant byte (highest powers) first."""
    shift = generator.power_of_x(8 * size_bytes)
    rows = []
    for _ in range(generator.bits // 8):
        rows.append(_multiples(generator, shift))
        for _ in range(8):
            shift = generator.times_x(shift)
    return tuple(reversed(rows))
