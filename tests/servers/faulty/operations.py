"""What each S3 operation does to a bucket, strict where Amazon is: conditions, checksums, part order, sizes, pages."""

from __future__ import annotations

import hashlib
import re
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from email.utils import formatdate
from xml.etree import ElementTree

from tests.servers.faulty import documents
from tests.servers.faulty.call import Call, Reply
from tests.servers.faulty.objects import CHECKSUMS, Bucket, Object, Pending, checksum_of, etag_of

PART_BYTES_MIN = 5 << 20
PAGE_MAX = 1000


def refused(status: int, code: str, headers: Mapping[str, str] | None = None, more: str = "") -> Reply:
    """A refusal with S3's <Error>."""
    return Reply(status, {"Content-Type": "application/xml", **(headers or {})}, documents.error(code, more=more))


def execute(call: Call, bucket: Bucket, *, page: int = PAGE_MAX) -> Reply:
    """Do what `call` asks for; lists come in pages of at most `page`."""
    paged: dict[str, Callable[[Call, Bucket, int], Reply]] = {
        "ListObjectsV2": _list_objects, "ListMultipartUploads": _list_uploads, "ListParts": _list_parts,
    }  # fmt: skip
    plain: dict[str, Callable[[Call, Bucket], Reply]] = {
        "GetObject": _get, "HeadObject": _head, "PutObject": _put, "DeleteObject": _delete,
        "CopyObject": _copy,
        "CreateMultipartUpload": _create, "UploadPart": _upload_part, "CompleteMultipartUpload": _complete,
        "AbortMultipartUpload": _abort,
    }  # fmt: skip
    if call.operation in paged:
        return paged[call.operation](call, bucket, page)
    return plain[call.operation](call, bucket)


def _get(call: Call, bucket: Bucket) -> Reply:
    stored = bucket.objects.get(call.key)
    if stored is None:
        return refused(404, "NoSuchKey")
    if call.headers.get("if-match", stored.etag) != stored.etag:
        return refused(412, "PreconditionFailed")
    headers = _described(stored)
    if "range" not in call.headers:
        return Reply(200, headers | _checksum(call, stored), stored.data)
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", call.headers["range"])
    if match is None:
        return Reply(200, headers, stored.data)
    first, last = int(match[1]), min(int(match[2]), len(stored.data) - 1)
    if first >= len(stored.data) or int(match[2]) < first:
        return refused(416, "InvalidRange")
    headers |= {"Content-Range": f"bytes {first}-{last}/{len(stored.data)}"}
    return Reply(206, headers, memoryview(stored.data)[first : last + 1])


def _head(call: Call, bucket: Bucket) -> Reply:
    stored = bucket.objects.get(call.key)
    if stored is None:
        return Reply(404)
    return Reply(200, _described(stored) | _checksum(call, stored), length=len(stored.data))


def _put(call: Call, bucket: Bucket) -> Reply:
    if refusal := _unmet(call, bucket):
        return refusal
    name = _announced(call)
    if name and not _is_right(call, call.body, name):
        return refused(400, "BadDigest")
    return _stored(bucket.put(call.key, call.body, checksum=name))


def _copy(call: Call, bucket: Bucket) -> Reply:
    source = bucket.objects.get(call.source[1]) if call.source[0] == call.bucket else None
    if source is None:
        return refused(404, "NoSuchKey")
    kind = call.headers.get("x-amz-checksum-algorithm", "").lower()
    stored = bucket.put(call.key, source.data, checksum=kind if kind in CHECKSUMS else None)
    return Reply(200, body=documents.copied(stored.etag))


def _delete(call: Call, bucket: Bucket) -> Reply:
    if "if-match" in call.headers and (refusal := _unmet(call, bucket)):
        return refusal
    bucket.objects.pop(call.key, None)
    return Reply(204, length=-1)


def _create(call: Call, bucket: Bucket) -> Reply:
    kind = call.headers.get("x-amz-checksum-algorithm", "").lower()
    known = kind in CHECKSUMS
    headers = {"x-amz-checksum-algorithm": kind.upper(), "x-amz-checksum-type": "FULL_OBJECT"} if known else {}
    return Reply(200, headers, documents.started(call.key, bucket.start(call.key, kind if known else None)))


def _upload_part(call: Call, bucket: Bucket) -> Reply:
    pending = bucket.uploads.get(call.query["uploadId"])
    if pending is None or pending.key != call.key or call.part is None:
        return refused(404, "NoSuchUpload")
    name = _announced(call)
    if name and not _is_right(call, call.body, name):
        return refused(400, "BadDigest")
    stored = Object(call.body, etag_of(call.body), time.time(), checksum_of(call.body, name))
    pending.parts[call.part] = stored
    return _stored(stored)


def _complete(call: Call, bucket: Bucket) -> Reply:
    pending = bucket.uploads.get(call.query["uploadId"])
    if pending is None or pending.key != call.key:
        return refused(404, "NoSuchUpload")
    if refusal := _unmet(call, bucket):
        return refusal
    named = [
        (int(part.findtext("{*}PartNumber", "0")), part.findtext("{*}ETag", ""))
        for part in ElementTree.fromstring(call.body)
    ]
    if not named or named != sorted(set(named)):
        return refused(400, "InvalidPartOrder")
    if any(number not in pending.parts or pending.parts[number].etag != etag for number, etag in named):
        return refused(400, "InvalidPart")
    chosen = [pending.parts[number] for number, _ in named]
    if any(len(part.data) < PART_BYTES_MIN for part in chosen[:-1]):
        return refused(400, "EntityTooSmall")
    data = b"".join(part.data for part in chosen)
    if int(call.headers.get("x-amz-mp-object-size", len(data))) != len(data):
        return refused(400, "InvalidRequest")
    name = _announced(call)
    if name and not _is_right(call, data, name):
        return refused(400, "BadDigest")
    del bucket.uploads[call.query["uploadId"]]
    parts = hashlib.md5("".join(part.etag for part in chosen).encode(), usedforsecurity=False).hexdigest()
    stored = bucket.put(call.key, data, etag=f'"{parts}-{len(chosen)}"', checksum=name or pending.checksum)
    return Reply(200, body=documents.completed(call.key, stored.etag))


def _abort(call: Call, bucket: Bucket) -> Reply:
    if bucket.uploads.pop(call.query["uploadId"], None) is None:
        return refused(404, "NoSuchUpload")
    return Reply(204, length=-1)


def _list_objects(call: Call, bucket: Bucket, page: int) -> Reply:
    found = sorted(item for item in bucket.objects.items() if item[0].startswith(call.query.get("prefix", "")))
    begin = bisect_right([key for key, _ in found], call.query.get("continuation-token", ""))
    chosen = found[begin : begin + page]
    following = chosen[-1][0] if begin + page < len(found) else None
    return Reply(200, body=documents.objects(chosen, following=following))


def _list_uploads(call: Call, bucket: Bucket, page: int) -> Reply:
    prefix = call.query.get("prefix", "")
    found: list[tuple[str, Pending]] = sorted(
        (item for item in bucket.uploads.items() if item[1].key.startswith(prefix)),
        key=lambda item: (item[1].key, item[0]),
    )
    marker = (call.query.get("key-marker", ""), call.query.get("upload-id-marker", ""))
    begin = bisect_right([(pending.key, name) for name, pending in found], marker)
    chosen = found[begin : begin + page]
    following = (chosen[-1][1].key, chosen[-1][0]) if begin + page < len(found) else None
    return Reply(200, body=documents.uploads(chosen, following=following))


def _list_parts(call: Call, bucket: Bucket, page: int) -> Reply:
    pending = bucket.uploads.get(call.query["uploadId"])
    if pending is None or pending.key != call.key:
        return refused(404, "NoSuchUpload")
    found = sorted(item for item in pending.parts.items() if item[0] > int(call.query.get("part-number-marker", "0")))
    following = found[page - 1][0] if page < len(found) else None
    return Reply(200, body=documents.parts(found[:page], following=following))


def _described(stored: Object) -> dict[str, str]:
    return {"ETag": stored.etag, "Last-Modified": formatdate(stored.modified, usegmt=True), "Accept-Ranges": "bytes"}


def _checksum(call: Call, stored: Object) -> dict[str, str]:
    if stored.checksum is None or "x-amz-checksum-mode" not in call.headers:
        return {}
    return {f"x-amz-checksum-{stored.checksum[0]}": stored.checksum[1], "x-amz-checksum-type": "FULL_OBJECT"}


def _stored(stored: Object) -> Reply:
    """The answer to a PUT: its checksum comes back."""
    echo = {f"x-amz-checksum-{stored.checksum[0]}": stored.checksum[1]} if stored.checksum else {}
    return Reply(200, {"ETag": stored.etag, **echo})


def _unmet(call: Call, bucket: Bucket) -> Reply | None:
    """The refusal of a conditional write whose condition does not hold."""
    stored = bucket.objects.get(call.key)
    if call.headers.get("if-none-match") == "*" and stored is not None:
        return refused(412, "PreconditionFailed")
    wanted = call.headers.get("if-match")
    if wanted is None or (stored is not None and stored.etag == wanted):
        return None
    return refused(404, "NoSuchKey") if stored is None else refused(412, "PreconditionFailed")


def _announced(call: Call) -> str | None:
    return next((name for name in CHECKSUMS if f"x-amz-checksum-{name}" in call.headers), None)


def _is_right(call: Call, data: bytes, name: str) -> bool:
    return checksum_of(data, name) == (name, call.headers[f"x-amz-checksum-{name}"])
