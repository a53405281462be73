"""What is fuzzed: functions that read bytes from strangers. Each raises its own refusal, or returns something true.

`TARGETS` maps a name to the module whose code is watched for coverage, and a function of bytes; a corpus of valid and
nearly valid inputs starts each of them.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bentosync.errors import InvalidArgument, NetworkError, RemoteError, UnsafeInput
from bentosync.formats import safetensors
from bentosync.manifest import decode, encode
from bentosync.settings.load import load
from bentosync.tag import Tag, parse_reference
from bentosync.wire import head
from bentosync.wire.reader import ReplyReader

GOLDEN = Path(__file__).parents[1] / "manifest" / "golden"
_FOLDER = tempfile.TemporaryDirectory(prefix="bentosync-fuzz-")
_CONFIG = Path(_FOLDER.name)


@dataclass(frozen=True)
class Target:
    """`check` fails with anything but a refusal of its family."""

    check: Callable[[bytes], None]
    corpus: tuple[bytes, ...]


def manifest(data: bytes) -> None:
    """What is taken is canonical, so it is given back byte for byte; in pieces it is the same."""
    try:
        envelope, found = decode.document(data)
    except UnsafeInput:
        return
    assert encode.document(envelope, found) == data
    parser = decode.Parser()
    for byte in range(0, len(data), 7):
        parser.feed(data[byte : byte + 7])
    assert parser.finish() == (envelope, found)


def safetensors_header(data: bytes) -> None:
    """The tensors that are taken fill the file exactly, one after the other."""
    for extra in (0, 16):
        try:
            found = safetensors.parse_header(data, len(data) + extra)
        except UnsafeInput:
            continue
        position = found.data_offset
        for tensor in found.tensors:
            assert tensor.begin == position or tensor.begin + found.data_offset == position
            position += tensor.end - tensor.begin
        assert position == len(data) + extra


def reference(data: bytes) -> None:
    """What is taken prints as something that is taken again and means the same."""
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(InvalidArgument):
        tag = Tag.from_str(text)
        assert Tag.from_str(str(tag)) == tag
    with contextlib.suppress(InvalidArgument):
        parse_reference(text)


def settings(data: bytes) -> None:
    """A config file is taken or refused with its name."""
    path = _CONFIG / "config.toml"
    path.write_bytes(data)
    try:
        load(environ={"HOME": "/nowhere"}, cwd=_CONFIG, config_dir=_CONFIG)
    except InvalidArgument as error:
        assert "config.toml" in str(error), error


def http_head(data: bytes) -> None:
    """A head is refused, or its length is a number that was said once."""
    try:
        found = head.parse(data, "host")
    except RemoteError:
        return
    assert 100 <= found.status <= 999
    assert found.length is None or found.length >= 0
    assert all(
        name == name.lower() and "\r" not in value and "\n" not in value for name, value in found.headers.items()
    )


def http_reply(data: bytes) -> None:
    """A reply is the same whether it comes at once or byte by byte, and the sink gets no more than was wanted."""
    outcomes = [_reply(data, step) for step in (len(data) or 1, 1)]
    assert outcomes[0] == outcomes[1]
    assert all(len(body) <= _WANTED for _, _, body in outcomes)


_WANTED = 10


class _Sink:
    def __init__(self) -> None:
        self.memory = bytearray(4)
        self.data = bytearray()

    def buffer(self) -> memoryview:
        return memoryview(self.memory)

    def filled(self, count: int) -> None:
        self.data += self.memory[:count]


def _reply(data: bytes, step: int) -> tuple[str, object, bytes]:
    """How it ended, with which reply, and what the sink got; `step` bytes at a time."""
    sink = _Sink()
    scratch = bytearray(head.HEAD_BYTES_MAX)
    reader = ReplyReader(
        "host", scratch, lambda reply: _WANTED if reply.status < 300 else None, sink, collect_max=50, bodyless=False
    )
    try:
        while data and reader.reply is None:
            memory = reader.buffer()[:step]
            piece, data = data[: len(memory)], data[len(memory) :]
            memory[: len(piece)] = piece
            reader.filled(len(piece))
        if reader.reply is None:
            reader.end()
    except NetworkError as error:
        return type(error).__name__, None, bytes(sink.data)
    return "whole", reader.reply, bytes(sink.data)


def _header(table: object) -> bytes:
    document = json.dumps(table).encode()
    return len(document).to_bytes(8, "little") + document


TARGETS = {
    "manifest": Target(manifest, tuple(path.read_bytes() for path in sorted(GOLDEN.glob("*.jsonl")))),
    "safetensors": Target(
        safetensors_header,
        (
            _header({"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}),
            _header({"__metadata__": {"format": "pt"}, "b": {"dtype": "BF16", "shape": [8], "data_offsets": [0, 16]}}),
            _header({}),
        ),
    ),
    "reference": Target(reference, (b"m", b"m:v1", b"model.name-1:latest", b"m:v1@b3:" + b"0" * 64, b"M:V1", b"a:b:c")),
    "settings": Target(
        settings,
        (
            b'default_remote = "nas"\n[remote.nas]\nurl = "file:///nas"\n',
            b'[transfer]\njobs = 4\nrange_bytes = "8MiB"\nstall_seconds = 3.5\n',
            b'[remote.s]\nurl = "s3://bucket/prefix"\nendpoint_url = "http://127.0.0.1:9000"\naddressing = "path"\n',
        ),
    ),
    "http-head": Target(
        http_head,
        (
            b'HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/10\r\nETag: "x"',
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
            b"HTTP/1.0 404 Not Found\r\nConnection: close\r\ncontent-length: 0",
        ),
    ),
    "http-reply": Target(
        http_reply,
        (
            b"HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\n\r\n0123456789",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\n012\r\n7\r\n3456789\r\n0\r\nA: b\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Slow Down\r\nContent-Length: 5\r\n\r\n<Err>",
            b"HTTP/1.1 404 Not Found\r\n\r\nto the end",
        ),
    ),
}
