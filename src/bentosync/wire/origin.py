"""What a URL means on the wire: where to connect, and how a request begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from msgspec import Struct

from bentosync.wire.exchange import Pattern, Request, Shot

# For these a server may insist on hearing that the body is empty.
_WITH_BODY = ("PUT", "POST")
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "bentosync"}


class Origin(Struct, frozen=True):
    """Where a connection leads."""

    host: str
    port: int
    tls: bool


def split(url: str) -> tuple[Origin, str, str]:
    """Origin, Host header, and request target of `url`, which is quoted already."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    origin = Origin(parts.hostname or "", parts.port or (443 if tls else 80), tls)
    target = parts.path or "/"
    return origin, parts.netloc.rpartition("@")[2], f"{target}?{parts.query}" if parts.query else target


def request_head(request: Request, host: str, target: str, body_bytes: int = 0) -> bytes:
    """What is sent before the body. Raises `ValueError` for a header with a line break in it."""
    fields = {"Host": host, **_HEADERS, **request.headers}
    if body_bytes or request.method in _WITH_BODY:
        fields["Content-Length"] = str(body_bytes)
    lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    text = "\r\n".join(lines)
    if text.count("\r") != len(lines) - 1 or text.count("\n") != len(lines) - 1:
        raise ValueError("a header holds a line break")
    return f"{text}\r\n\r\n".encode("latin-1")


def request_heads(pattern: Pattern, host: str, shots: Iterable[Shot]) -> Iterator[bytes]:
    """What is sent before the bodies of many requests that are alike; as `request_head`."""
    shared = {"Host": host, **_HEADERS, **pattern.headers}
    lines = [f"{name}: {value}".replace("%", "%%") for name, value in shared.items()]
    lines += [*(f"{name}: %s" for name in pattern.varying), "Content-Length: %d"]
    text = "\r\n".join([f"{pattern.method} %s HTTP/1.1", *lines, "", ""])
    breaks = len(lines) + 2
    for shot in shots:
        head = (text % (shot.target, *shot.values, len(shot.body))).encode("latin-1")
        if head.count(b"\r") != breaks or head.count(b"\n") != breaks:
            raise ValueError("a header holds a line break")
        yield head
