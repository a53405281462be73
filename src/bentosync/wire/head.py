"""The head of a response, parsed strictly. Pure.

Only what object stores send is understood: HTTP/1.x, a status, header fields without folding. `parse` refuses what is
not HTTP, and says how the body is framed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from bentosync.errors import RemoteError

HEAD_BYTES_MAX = 64 << 10
END = b"\r\n\r\n"

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")


class Head(Struct, frozen=True):
    """Status, header fields (names in lower case, the last of equal names counts), and how the body is framed.

    `length` is None if the body is not framed by a plain Content-Length; `chunked` if it comes in chunks and nothing
    else. `keep` says that the connection may be used again after the body.
    """

    status: int
    headers: Mapping[str, str]
    length: int | None
    keep: bool
    chunked: bool = False

    @property
    def interim(self) -> bool:
        """Another head follows this one."""
        return 100 <= self.status < 200


def parse(data: bytes, host: str) -> Head:
    """Parse the bytes before the empty line; `host` is for messages.

    Raises:
        RemoteError: This is not the head of an HTTP/1 response, or it contradicts itself.
    """
    lines = data.split(b"\r\n")
    status_line = _STATUS_LINE.fullmatch(lines[0])
    if status_line is None:
        raise RemoteError(f"{host} sent a reply that is not HTTP: {lines[0][:40]!r}")
    headers: dict[str, str] = {}
    lengths: set[bytes] = set()
    for line in lines[1:]:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise RemoteError(f"{host} sent a broken header field: {line[:40]!r}")
        name = field[1].decode("ascii").lower()
        headers[name] = field[2].decode("latin-1")
        if name == "content-length":
            lengths.add(field[2])
    modern = status_line[1] == b"1"
    coding = headers.get("transfer-encoding")
    chunked = modern and coding is not None and coding.strip().lower() == "chunked"
    length = _length(lengths, host) if coding is None else None
    connection = headers.get("connection")
    tokens = [] if connection is None else [token.strip().lower() for token in connection.split(",")]
    # Both framings at once: somebody on the way may have meant the other one (RFC 9112, 6.3).
    keep = modern and "close" not in tokens and not (lengths and coding is not None)
    return Head(int(status_line[2]), headers, length, keep, chunked)


def _length(values: set[bytes], host: str) -> int | None:
    if not values:
        return None
    value = values.pop()
    if values or _LENGTH.fullmatch(value) is None:
        raise RemoteError(f"{host} sent no usable Content-Length: {value[:40]!r}")
    return int(value)
