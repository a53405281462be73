"""The head of a response, parsed strictly. Pure.

Only what object stores send is understood: HTTP/1.1, a status, header fields without folding, a body whose length is
announced. `parse` refuses what is not HTTP; what is HTTP but not that plain (chunked, no length, 1.0) is marked, and
the caller lets a full client have the exchange.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bentosync.errors import RemoteError

HEAD_BYTES_MAX = 64 << 10
END = b"\r\n\r\n"

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Head:
    """Status, header fields (names in lower case, the last of equal names counts), and how the body is framed.

    `length` is None if the body is not framed by a plain Content-Length. `keep` says that the connection may be used
    again.
    """

    status: int
    headers: Mapping[str, str]
    length: int | None
    keep: bool

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
    plain = status_line[1] == b"1" and "transfer-encoding" not in headers
    keep = plain and headers.get("connection", "").lower() != "close"
    return Head(int(status_line[2]), headers, _length(lengths, host) if plain else None, keep)


def _length(values: set[bytes], host: str) -> int | None:
    if not values:
        return None
    value = values.pop()
    if values or _LENGTH.fullmatch(value) is None:
        raise RemoteError(f"{host} sent no usable Content-Length: {value[:40]!r}")
    return int(value)
