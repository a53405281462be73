"""safetensors headers: a strict parser, stricter than the reference library.

A file that two readers understand differently is a way past every scanner, so whatever the reference tolerates but
the format does not need is refused: duplicate names, unknown members, names that hold control characters, lists in
place of objects, white space before the header. What is accepted here, safetensors 0.8.0 accepts with the same result.

Misaligned tensors are legal; who needs alignment copies them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, NoReturn

from msgspec import Struct

from bentosync.errors import UnsafeInput
from bentosync.manifest import paths
from bentosync.manifest.layout import DTYPE_BITS, HEADER_BYTES_MAX, TENSORS_MAX, check_rows, name_fault
from bentosync.manifest.lexis import INTEGER, NUMBER, SPACE, STRING, unescaped
from bentosync.manifest.refusal import about
from bentosync.manifest.values import Tensor, TensorSpec

__all__ = ["DTYPE_BITS", "HEADER_BYTES_MAX", "Header", "TensorSpec", "header_bytes", "parse_header", "parse_index",
           "read_header"]  # fmt: skip

LENGTH_BYTES = 8
"""The file starts with the length of the header, little-endian."""

INDEX_BYTES_MAX = 32 << 20

METADATA_ENTRIES_MAX = 100_000

_METADATA = "__metadata__"
_OPENING = re.compile(rb"\{" + SPACE)
_CLOSING = re.compile(SPACE + rb"\}")
_COMMA = re.compile(SPACE + rb"," + SPACE)
_NAME = re.compile(STRING + SPACE + rb":" + SPACE)
_TEXT = re.compile(STRING)
_SHAPE = NUMBER + rb"(?:" + SPACE + rb"," + SPACE + NUMBER + rb")*+"
# Three members in any order; that every group is set means that each stands there once.
_TENSOR = re.compile(
    rb"\{" + SPACE + rb"(?:(?:"
    + rb'"dtype"' + SPACE + rb":" + SPACE + rb'"([A-Z0-9_]{1,16}+)"|'
    + rb'"shape"' + SPACE + rb":" + SPACE + rb"\[" + SPACE + rb"((?:" + _SHAPE + rb")?+)" + SPACE + rb"\]|"
    + rb'"data_offsets"' + SPACE + rb":" + SPACE
    + rb"\[" + SPACE + INTEGER + SPACE + rb"," + SPACE + INTEGER + SPACE + rb"\]"
    + rb")" + SPACE + rb"(?:," + SPACE + rb'(?=")|(?=\}))){3}\}'
)  # fmt: skip
# What every writer writes: members in this order, names without escapes. Part of the grammar above, and as many of them
# as follow each other are matched by one call: the name, dtype, shape and offsets of each are captured by a second one.
_USUAL = (
    rb'"(?!__metadata__")([ !#-\[\]-~]{1,4096}+)"' + SPACE + rb":" + SPACE + rb"\{" + SPACE
    + rb'"dtype"' + SPACE + rb":" + SPACE + rb'"([A-Z0-9_]{1,16}+)"' + SPACE + rb"," + SPACE
    + rb'"shape"' + SPACE + rb":" + SPACE + rb"\[" + SPACE + rb"((?:" + _SHAPE + rb")?+)" + SPACE + rb"\]"
    + SPACE + rb"," + SPACE + rb'"data_offsets"' + SPACE + rb":" + SPACE
    + rb"\[" + SPACE + INTEGER + SPACE + rb"," + SPACE + INTEGER + SPACE + rb"\]" + SPACE + rb"\}"
)  # fmt: skip
_USUAL_ONE = re.compile(_USUAL.decode())
_USUAL_RUN = re.compile(re.sub(rb"\((?!\?)", b"(?:", _USUAL + rb"(?:" + _COMMA.pattern + _USUAL + rb"){0,9999}+"))


class Header(Struct, frozen=True):
    """A valid header. `data_offset` is where the data section starts in the file, in bytes.

    `tensors` are in the order of their bytes (ties by name), fill the data section, and do not overlap. A header that
    comes from a manifest carries their fingerprints as well.
    """

    data_offset: int
    tensors: tuple[TensorSpec | Tensor, ...]
    metadata: Mapping[str, str]


def header_bytes(first8: bytes | bytearray | memoryview, file_size: int | None = None) -> int:
    """Length of the header in bytes, from the first 8 bytes of the file; the data section starts 8 bytes later.

    Raises:
        UnsafeInput: Fewer than 8 bytes, over 100 MB, or longer than a file of `file_size` bytes.
    """
    if len(first8) < LENGTH_BYTES:
        raise UnsafeInput(f"safetensors header: the file has {len(first8)} bytes, no room for the header's length")
    length = int.from_bytes(first8[:LENGTH_BYTES], "little")
    if not 2 <= length <= HEADER_BYTES_MAX:
        raise UnsafeInput(f"safetensors header: a length of {length} bytes is not within 2 and {HEADER_BYTES_MAX}")
    if file_size is not None and LENGTH_BYTES + length > file_size:
        raise UnsafeInput(f"safetensors header: {length} bytes do not fit a file of {file_size}")
    return length


def parse_header(data: bytes | bytearray | memoryview, file_size: int) -> Header:
    """The header of a file of `file_size` bytes.

    Args:
        data: The file from its start; at least the 8 bytes of length and the header, more is ignored.
        file_size: Of the whole file, in bytes.

    Raises:
        UnsafeInput: The message says what is wrong and at which tensor; it does not know the file.
    """
    data_offset = LENGTH_BYTES + header_bytes(data[:LENGTH_BYTES], file_size)
    with about("safetensors header"):
        if len(data) < data_offset:
            raise UnsafeInput(f"{data_offset} bytes needed, {len(data)} given")
        specs, metadata = _Scanner(bytes(data[LENGTH_BYTES:data_offset])).scan()
        specs.sort(key=itemgetter(3, 4, 0))  # begin, end, name
        check_rows(specs, file_size - data_offset)
    return Header(data_offset=data_offset, tensors=tuple(specs), metadata=metadata)


def read_header(path: Path) -> Header:
    """The header of a file on disk; reads nothing but the header.

    Raises:
        UnsafeInput: The header is not valid.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        file_size = file.seek(0, 2)
        file.seek(0)
        first = file.read(LENGTH_BYTES)
        return parse_header(first + file.read(header_bytes(first, file_size)), file_size)


def parse_index(data: bytes | bytearray | memoryview) -> dict[str, str]:
    """Which shard holds which tensor, from the bytes of `model.safetensors.index.json`.

    Raises:
        UnsafeInput: Not such an index, a name appears twice, or a shard is not a plain file name.
    """
    if len(data) > INDEX_BYTES_MAX:
        raise UnsafeInput(f"safetensors index: {len(data)} bytes, over {INDEX_BYTES_MAX}")
    try:
        index = json.loads(bytes(data).decode(), object_pairs_hook=_distinct, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise UnsafeInput("safetensors index: not JSON, or a name appears twice") from None
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise UnsafeInput("safetensors index: weight_map is missing, empty or not an object")
    for name, shard in shards.items():
        fault = name_fault(name) or _shard_fault(shard)
        if fault is not None:
            raise UnsafeInput(f"safetensors index: tensor {name[:200]!a} {fault}")
    return shards


def _shard_fault(shard: object) -> str | None:
    if not isinstance(shard, str) or not shard.endswith(".safetensors") or "/" in shard:
        return f"is in {str(shard)[:200]!a}, not a plain *.safetensors"
    try:
        paths.check(shard)
    except UnsafeInput as error:
        return f"is in {error.message}"
    return None


class _Scanner:
    """The header's bytes, from left to right. Members of tensors may come in any order, with white space between."""

    def __init__(self, header: bytes) -> None:
        self._header = header
        self._position = 0
        self._specs: list[TensorSpec] = []
        self._metadata: dict[str, str] | None = None

    def scan(self) -> tuple[list[TensorSpec], dict[str, str]]:
        self._object(self._member)
        if self._header[self._position :].strip(b" "):
            self._fail("more than spaces follow the header")
        return self._specs, self._metadata or {}

    def _object(self, take: Callable[[], None]) -> None:
        self._expect(_OPENING)
        if not self._accept(_CLOSING):
            while True:
                take()
                if not self._accept(_COMMA):
                    break
            self._expect(_CLOSING)

    def _member(self) -> None:
        usual = self._accept(_USUAL_RUN)
        if usual is not None:
            self._tensors(usual[0].decode())
            return
        name = unescaped(self._expect(_NAME)[1])
        if name != _METADATA:
            self._tensor(name)
        elif self._metadata is not None:
            self._fail("metadata appears twice")
        else:
            self._metadata = {}
            self._object(self._text)

    def _tensors(self, usual: str) -> None:
        shapes: dict[str, tuple[int, ...]] = {"": ()}  # a model has few
        for name, dtype, shape, begin, end in _USUAL_ONE.findall(usual):
            dimensions = shapes.get(shape)
            if dimensions is None:
                dimensions = shapes[shape] = tuple(map(int, shape.split(",")))
            self._specs.append(TensorSpec(name, dtype, dimensions, int(begin), int(end)))
        if len(self._specs) > TENSORS_MAX:
            self._fail(f"more than {TENSORS_MAX} tensors")

    def _tensor(self, name: str) -> None:
        dtype, shape, begin, end = self._expect(_TENSOR).groups()
        if dtype is None or shape is None or end is None:
            self._fail(f"tensor {name[:200]!a} lacks a member")
        if len(self._specs) == TENSORS_MAX:
            self._fail(f"more than {TENSORS_MAX} tensors")
        dimensions = tuple(map(int, shape.split(b","))) if shape else ()
        self._specs.append(TensorSpec(name, dtype.decode(), dimensions, int(begin), int(end)))

    def _text(self) -> None:
        assert self._metadata is not None
        name = unescaped(self._expect(_NAME)[1])
        if name in self._metadata:
            self._fail(f"metadata {name[:200]!a} appears twice")
        if len(self._metadata) == METADATA_ENTRIES_MAX:
            self._fail(f"more than {METADATA_ENTRIES_MAX} entries of metadata")
        self._metadata[name] = unescaped(self._expect(_TEXT)[1])

    def _accept(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        found = pattern.match(self._header, self._position)
        if found is not None:
            self._position = found.end()
        return found

    def _expect(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        return self._accept(pattern) or self._fail("malformed")

    def _fail(self, what: str) -> NoReturn:
        seen = self._header[self._position : self._position + 60]
        raise UnsafeInput(f"{what}, at byte {self._position}: {seen!a}")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name appears twice")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
