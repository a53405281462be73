"""The few XML documents S3 speaks, in and out. Pure.

Input is bounded by the wire, must be UTF-8, and may not declare a document type: no entities, so nothing expands and
nothing is fetched. What is missing or not a number makes the document broken (`RemoteError`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from msgspec import Struct

from bentosync.errors import RemoteError
from bentosync.remote.contract import ChecksumName, Part, Stat, Upload

if TYPE_CHECKING:
    from xml.etree import ElementTree

_CHECKSUM_ELEMENTS: dict[ChecksumName, str] = {"crc64nvme": "ChecksumCRC64NVME", "crc32": "ChecksumCRC32"}
_CHECKSUM_BYTES: dict[ChecksumName, int] = {"crc64nvme": 8, "crc32": 4}
_MD5 = re.compile(r'"?([0-9a-fA-F]{32})"?')


class Refusal(Struct, frozen=True):
    """An <Error> document."""

    code: str
    message: str
    region: str | None = None


class Page(Struct, frozen=True):
    """One page of a listing. `next` is what asks for the next one, None at the end."""

    objects: tuple[Stat, ...]
    next: str | None


class UploadsPage(Struct, frozen=True):
    """One page of uploads in flight; `next` is (key marker, upload id marker)."""

    uploads: tuple[Upload, ...]
    next: tuple[str, str] | None


class PartsPage(Struct, frozen=True):
    """One page of the parts of an upload; `next` is the part number marker."""

    parts: tuple[Part, ...]
    next: str | None


def refusal(data: bytes) -> Refusal | None:
    """The error that `data` describes, or None if it describes none: proxies answer in HTML, HEAD with nothing."""
    try:
        root = _parse(data)
    except RemoteError:
        return None
    if _name(root) != "Error":
        return None
    return Refusal(_text(root, "Code"), _text(root, "Message")[:300], _text(root, "Region") or None)


def objects(data: bytes) -> Page:
    """A ListObjectsV2 result."""
    root = _parse(data, "ListBucket")
    decode = unquote_plus if _text(root, "EncodingType") == "url" else str
    found = tuple(
        Stat(decode(_text(item, "Key")), _number(item, "Size"), _text(item, "ETag"), _moment(item, "LastModified"))
        for item in _all(root, "Contents")
    )
    return Page(found, _text(root, "NextContinuationToken") if _truncated(root) else None)


def uploads(data: bytes) -> UploadsPage:
    """A ListMultipartUploads result."""
    root = _parse(data, "ListMultipartUploads")
    decode = unquote_plus if _text(root, "EncodingType") == "url" else str
    found = tuple(Upload(decode(_text(item, "Key")), _text(item, "UploadId")) for item in _all(root, "Upload"))
    following = (decode(_text(root, "NextKeyMarker")), _text(root, "NextUploadIdMarker"))
    return UploadsPage(found, following if _truncated(root) else None)


def parts(data: bytes, checksum: ChecksumName) -> PartsPage:
    """A ListParts result; of the parts' checksums, the one called `checksum`."""
    root = _parse(data, "ListParts")
    found = tuple(
        Part(
            _number(item, "PartNumber"),
            _number(item, "Size"),
            etag := _text(item, "ETag"),
            checksum_value(_text(item, _CHECKSUM_ELEMENTS[checksum]), checksum),
            md5(etag),
        )
        for item in _all(root, "Part")
    )
    return PartsPage(found, _text(root, "NextPartNumberMarker") if _truncated(root) else None)


def upload_id(data: bytes) -> str:
    """The id in an InitiateMultipartUpload result."""
    root = _parse(data, "InitiateMultipartUpload")
    if not (identity := _text(root, "UploadId")):
        raise RemoteError("The store started an upload without an id")
    return identity


def completed(data: bytes) -> str:
    """The ETag in a CompleteMultipartUpload result."""
    return _text(_parse(data, "CompleteMultipartUpload"), "ETag")


def check_completion(data: bytes) -> None:
    """Raise `RemoteError` if this answers no CompleteMultipartUpload, neither with a result nor with an error."""
    if refusal(data) is None:
        completed(data)


def check_copy(data: bytes) -> None:
    """Raise `RemoteError` if this answers no CopyObject: a store that only knows PutObject stores an empty object."""
    try:
        if refusal(data) is None:
            _text(_parse(data, "CopyObject"), "ETag")
    except RemoteError as error:
        error.retryable = False
        raise


def complete_request(found: Sequence[Part], checksum: ChecksumName) -> bytes:
    """The body of CompleteMultipartUpload."""
    lines = [
        f"<Part><PartNumber>{part.number}</PartNumber><ETag>{_escaped(part.etag)}</ETag>"
        + (f"<{name}>{encode(part.checksum)}</{name}>" if part.checksum else "")
        + "</Part>"
        for name in (_CHECKSUM_ELEMENTS[checksum],)
        for part in found
    ]
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<CompleteMultipartUpload xmlns="{namespace}">{"".join(lines)}</CompleteMultipartUpload>'.encode()


def encode(checksum: bytes) -> str:
    """A checksum as headers and documents carry it."""
    return base64.b64encode(checksum).decode()


def checksum_value(text: str, name: ChecksumName) -> bytes | None:
    """The checksum in `text`; None if there is none, or one of parts (`…-3`) instead of the object."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if len(value) == _CHECKSUM_BYTES[name] else None


def md5(etag: str) -> bytes | None:
    """What `etag` would be as an MD5. Equal to the bytes' MD5 it proves them; different it proves nothing."""
    match = _MD5.fullmatch(etag)
    return bytes.fromhex(match[1]) if match else None


def _parse(data: bytes, expected: str | None = None) -> ElementTree.Element:
    from xml.etree import ElementTree  # a pull that goes well reads no XML

    try:
        text = data.decode("utf-8-sig").lstrip()
        if "<!DOCTYPE" in text or "<!ENTITY" in text or "\0" in text:
            raise RemoteError("The store sent a document with a document type, which S3 never does")
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise RemoteError("The store sent a document that is not XML") from error
    if expected is not None and not _name(root).startswith(expected):  # …Result; of moto …Response
        raise RemoteError(f"The store sent a document of another kind than {expected}Result")
    return root


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _all(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in root if _name(child) == name]


def _text(root: ElementTree.Element, name: str) -> str:
    return next((child.text or "" for child in root if _name(child) == name), "")


def _number(root: ElementTree.Element, name: str) -> int:
    text = _text(root, name)
    if not text.isascii() or not text.isdigit() or len(text) > 16:
        raise RemoteError(f"The store sent a document whose {name} is not a number")
    return int(text)


def _moment(root: ElementTree.Element, name: str) -> float:
    try:
        return datetime.fromisoformat(_text(root, name)).timestamp()
    except ValueError as error:
        raise RemoteError(f"The store sent a document whose {name} is not a time") from error


def _truncated(root: ElementTree.Element) -> bool:
    return _text(root, "IsTruncated") == "true"


def _escaped(text: str) -> str:
    """`text` inside an element. The one of `xml.sax` brings an HTTP client along."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
