"""One request as S3 understands it, and the reply it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.servers.raw import Received


@dataclass(frozen=True)
class Call:
    """A request. `operation` is S3's own name for it, `key` is decoded, `headers` have lower-case names."""

    operation: str
    method: str
    target: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def source(self) -> tuple[str, str]:
        """Bucket and key that a CopyObject copies."""
        bucket, _, key = unquote(self.headers["x-amz-copy-source"]).lstrip("/").partition("/")
        return bucket, key

    @property
    def part(self) -> int | None:
        """The part number of an UploadPart."""
        return int(self.query["partNumber"]) if "partNumber" in self.query else None


@dataclass(frozen=True)
class Reply:
    """A response. `length` is the Content-Length to announce where it is not that of the body; -1 announces none."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | memoryview = b""
    length: int | None = None

    def head(self) -> bytes:
        """Status line and headers."""
        length = len(self.body) if self.length is None else self.length
        fields = dict(self.headers) | ({"Content-Length": str(length)} if length >= 0 else {})
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"HTTP/1.1 {self.status} {phrase}", *(f"{name}: {value}" for name, value in fields.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def understand(received: Received) -> Call:
    """What a request asks for; the body is not looked at."""
    parts = urlsplit(received.target)
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Call(
        _operation(received.method, key, query, received.headers), received.method, received.target, bucket, key, query,
        received.headers, received.body,
    )  # fmt: skip


def _operation(method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    match method:
        case "GET" if not key:
            return "ListMultipartUploads" if "uploads" in query else "ListObjectsV2"
        case "GET":
            return "ListParts" if "uploadId" in query else "GetObject"
        case "HEAD":
            return "HeadObject"
        case "PUT" if "x-amz-copy-source" in headers:
            return "CopyObject"
        case "PUT":
            return "UploadPart" if "partNumber" in query else "PutObject"
        case "POST":
            return "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload"
        case "DELETE":
            return "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
    return method
