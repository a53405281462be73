"""What a table of tensors may say about the file it describes: the rules of safetensors, kept strictly.

Both the parser of safetensors headers and the reader of manifests ask here, so that a table that a manifest carries
is one that the file's own header could carry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import prod
from types import MappingProxyType

from bentosync.errors import UnsafeInput
from bentosync.manifest.values import Tensor, TensorSpec

DTYPE_BITS: Mapping[str, int] = MappingProxyType({
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "F8_E4M3": 8, "F8_E4M3FNUZ": 8, "F8_E5M2": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
})  # fmt: skip
"""Bits per element of every dtype of format 1; the dtypes of safetensors 0.8.0."""

HEADER_BYTES_MAX = 100_000_000
"""Longest safetensors header, as in the reference library; the data section starts at most 8 bytes later."""

TENSORS_MAX = 1_000_000
RANK_MAX = 64
NAME_BYTES_MAX = 4096

_BITS_MAX = 1 << 63
_RESERVED = "__metadata__"
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def check_rows(rows: Iterable[TensorSpec | Tensor], data_bytes: int) -> None:
    """Refuse rows that are not the tensors of a data section of `data_bytes` bytes.

    Rows must be sorted by (begin, end, name), follow each other without hole or overlap, fill the section, have
    distinct names, and be as long as dtype and shape say.

    Raises:
        UnsafeInput: The message names the tensor and the rule.
    """
    position, previous, count = 0, (0, 0, ""), 0
    names: set[str] = set()
    kinds = _Kinds()
    for row in rows:
        name, dtype, shape, begin, end = row[:5]
        # What is in order is recognised by a few comparisons; what is not, or may not be, is looked at closely.
        plain = 0 < len(name) <= NAME_BYTES_MAX and name.isascii() and name.isprintable() and name != _RESERVED
        if not (plain and kinds[dtype, shape] == end - begin > 0 and begin == position and end <= data_bytes):
            fault = _row_fault(row)
            if fault is None and begin != position:
                fault = f"begins at byte {begin} of the data section, where {position} was expected"
            if fault is None and end > data_bytes:
                fault = f"ends at byte {end} of a data section of {data_bytes} bytes"
            if fault is None and (begin, end, name) < previous:
                fault = "is out of order"
            if fault is not None:
                raise UnsafeInput(f"tensor {name[:200]!a} {fault}")
        position, previous, count = end, (begin, end, name), count + 1
        if count > TENSORS_MAX:
            raise UnsafeInput(f"more than {TENSORS_MAX} tensors")
        names.add(name)
        if len(names) != count:
            raise UnsafeInput(f"tensor {name[:200]!a} appears twice")
    if position != data_bytes:
        raise UnsafeInput(f"the tensors end at byte {position} of a data section of {data_bytes} bytes")


class _Kinds(dict[tuple[str, tuple[int, ...]], int]):
    """Bytes of a tensor by dtype and shape, of which a model has few; -1 for those that break a rule."""

    def __missing__(self, kind: tuple[str, tuple[int, ...]]) -> int:
        dtype, shape = kind
        bits = DTYPE_BITS.get(dtype, 0)
        size = bits * prod(shape) // 8 if bits and len(shape) <= RANK_MAX else -1
        if _row_fault(TensorSpec("any", dtype, shape, 0, size)) is not None:
            size = -1
        self[kind] = size
        return size


def name_fault(name: str) -> str | None:
    """What is wrong with the name of a tensor, if anything."""
    if not name:
        return "has no name"
    if len(name) > NAME_BYTES_MAX or _CONTROL.search(name) or len(name.encode()) > NAME_BYTES_MAX:
        return f"has a name that holds control characters or is over {NAME_BYTES_MAX} bytes"
    if name == _RESERVED:
        return "has a reserved name"
    return None


def _row_fault(row: TensorSpec | Tensor) -> str | None:
    fault = name_fault(row.name)
    if fault is not None:
        return fault
    bits = DTYPE_BITS.get(row.dtype)
    if bits is None:
        return f"has the unknown dtype {row.dtype[:40]!a}"
    if len(row.shape) > RANK_MAX:
        return f"has rank {len(row.shape)}, over {RANK_MAX}"
    return _size_fault(row, bits)


def _size_fault(row: TensorSpec | Tensor, bits: int) -> str | None:
    elements_bits, empty = bits, False
    for dimension in row.shape:
        if dimension < 0:
            return f"has the negative dimension {dimension}"
        if dimension == 0:
            empty = True
            continue
        elements_bits *= dimension
        # Bounded even if another dimension is zero: the product must not depend on the order of multiplication.
        if elements_bits >= _BITS_MAX:
            return "has a shape whose size overflows"
    if elements_bits % 8 and not empty:
        return f"ends within a byte: {elements_bits} bits of {row.dtype}"
    expected = 0 if empty else elements_bits // 8
    if row.end - row.begin != expected:
        return f"spans {row.end - row.begin} bytes where dtype and shape need {expected}"
    return None
