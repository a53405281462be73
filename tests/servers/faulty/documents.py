"""The XML that S3 answers with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

from tests.servers.faulty.objects import Object, Pending

_NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def error(code: str, message: str = "told by the fault server", more: str = "") -> bytes:
    """An <Error>."""
    return f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>{more}</Error>".encode()


def started(key: str, upload: str) -> bytes:
    """The answer of CreateMultipartUpload."""
    return _result("InitiateMultipartUploadResult", f"<Key>{escape(key)}</Key><UploadId>{upload}</UploadId>")


def completed(key: str, etag: str) -> bytes:
    """The answer of CompleteMultipartUpload."""
    return _result("CompleteMultipartUploadResult", f"<Key>{escape(key)}</Key><ETag>{escape(etag)}</ETag>")


def copied(etag: str) -> bytes:
    """The answer of CopyObject."""
    return _result("CopyObjectResult", f"<ETag>{escape(etag)}</ETag>")


def objects(page: Sequence[tuple[str, Object]], *, following: str | None) -> bytes:
    """A ListObjectsV2 page."""
    rows = "".join(
        f"<Contents><Key>{quote_plus(key, safe='/')}</Key><Size>{len(found.data)}</Size>"
        f"<ETag>{escape(found.etag)}</ETag><LastModified>{_moment(found.modified)}</LastModified></Contents>"
        for key, found in page
    )
    token = f"<NextContinuationToken>{escape(following)}</NextContinuationToken>" if following else ""
    return _result("ListBucketResult", f"<EncodingType>url</EncodingType>{_truncated(following)}{token}{rows}")


def uploads(page: Sequence[tuple[str, Pending]], *, following: tuple[str, str] | None) -> bytes:
    """A ListMultipartUploads page."""
    rows = "".join(
        f"<Upload><Key>{quote_plus(found.key, safe='/')}</Key><UploadId>{name}</UploadId></Upload>"
        for name, found in page
    )
    markers = (
        f"<NextKeyMarker>{quote_plus(following[0], safe='/')}</NextKeyMarker>"
        f"<NextUploadIdMarker>{following[1]}</NextUploadIdMarker>"
        if following
        else ""
    )
    body = f"<EncodingType>url</EncodingType>{_truncated(following)}{markers}{rows}"
    return _result("ListMultipartUploadsResult", body)


def parts(page: Sequence[tuple[int, Object]], *, following: int | None) -> bytes:
    """A ListParts page."""
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><Size>{len(found.data)}</Size><ETag>{escape(found.etag)}</ETag>"
        + (f"<Checksum{found.checksum[0].upper()}>{found.checksum[1]}</Checksum{found.checksum[0].upper()}>"
           if found.checksum else "")
        + "</Part>"
        for number, found in page
    )  # fmt: skip
    marker = f"<NextPartNumberMarker>{following}</NextPartNumberMarker>" if following else ""
    return _result("ListPartsResult", f"{_truncated(following)}{marker}{rows}")


def _result(name: str, body: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} {_NAMESPACE}>{body}</{name}>'.encode()


def _truncated(following: object) -> str:
    return f"<IsTruncated>{'true' if following else 'false'}</IsTruncated>"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
