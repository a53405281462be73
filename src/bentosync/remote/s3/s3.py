"""A bucket as a remote. Every method is one or a few signed requests on our wire; nothing here tries again.

Sizes, ranges, ETags and lengths of replies are compared with what was asked for before a byte reaches a sink.
Uploads carry the full-object checksum named in `properties`, which the store verifies when they complete.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from bentosync.errors import Conflict, IntegrityError, NotFound, RemoteError, UnsafeInput
from bentosync.native import checksum as checksums
from bentosync.remote.contract import (
    Access,
    Blob,
    ChecksumName,
    Condition,
    Entity,
    IfAbsent,
    IfMatch,
    Located,
    MissingRemote,
    Part,
    Properties,
    RangeSink,
    Stat,
    Upload,
)
from bentosync.remote.s3 import api, documents
from bentosync.remote.s3.address import Bucket
from bentosync.remote.s3.api import Api
from bentosync.remote.s3.client import Client, Member, Operation
from bentosync.remote.s3.probe import Probe
from bentosync.remote.s3.terms import Terms
from bentosync.settings import NativeMode
from bentosync.wire.exchange import Body, Extent, Judge, Reply, Request, Sink, Wire, body_bytes

if TYPE_CHECKING:
    import builtins

T = TypeVar("T", str, tuple[str, str])

_PART_BYTES_MIN = 5 << 20
_PARTS_MAX = 10_000
_PUT_BYTES_MAX = 5 << 30
_LISTING_BYTES_MAX = 16 << 20
# A store may look at every part before it answers a Complete.
_COMPLETE_SECONDS = 300.0
_WITH_CHECKSUM = {"x-amz-checksum-mode": "ENABLED"}
_CONTENT_RANGE = re.compile(r"bytes (\d{1,16})-(\d{1,16})/(\d{1,16}|\*)", re.ASCII)


class S3Remote:
    """The `Remote` contract over a bucket.

    Args:
        bucket: Bucket and prefix.
        client: Signed requests to that bucket.
        wire: The wire the client uses, for bodies that go into sinks.
        probe: Remembers whether the store honours conditions.
        terms: What the remote's settings add to each request.
        native: Whether the compiled core may be used; decides which checksum is cheap.
        replacing: Whether a completed upload replaces an object under its key, as `write` without a condition does. Not
            what the contract promises: for exports only, whose keys are the user's and no commit points.
    """

    def __init__(
        self,
        bucket: Bucket,
        client: Client,
        wire: Wire,
        probe: Probe,
        terms: Terms,
        *,
        native: NativeMode = "auto",
        replacing: bool = False,
    ) -> None:
        self._bucket = bucket
        self._client = client
        self._wire = wire
        self._probe = probe
        self._terms = terms
        self._completing: dict[str, str] = {} if replacing else {"if-none-match": "*"}
        self._digest = checksums.preferred(native=native)
        self._checksum: ChecksumName = self._digest.name
        self._checksum_header = f"x-amz-checksum-{self._checksum}"

    @property
    def properties(self) -> Properties:
        """S3's limits, and the checksum that uploads carry."""
        return Properties(self._bucket.url, self._checksum, _PART_BYTES_MIN, _PARTS_MAX, _PUT_BYTES_MAX)

    async def read(self, key: str, *, bytes_max: int) -> Entity:
        """One GET, its announced length checked before the body is read, its checksum after, if the store has one."""
        whole = _Whole()

        def judge(reply: Reply) -> int | None:
            if not 200 <= reply.status < 300:
                return None
            size = _length(reply, key)
            if size > bytes_max:
                raise UnsafeInput(f"{key} is {size} bytes, more than the {bytes_max} it may be")
            whole.data = bytearray(size)
            return size

        reply = await self._receive(self._operation(api.GET_OBJECT, key, headers=_WITH_CHECKSUM), judge, whole)
        data = bytes(whole.data)
        if self._checksum_in(reply) not in (None, self._checksum_of(data)):
            raise IntegrityError(f"{key} arrived damaged: its checksum is not the one the store has", retryable=True)
        return Entity(data, _etag(reply))

    async def read_range(self, key: str, start: int, length: int, sink: RangeSink, *, etag: str | None = None) -> str:
        """One ranged GET."""
        headers = {"range": f"bytes={start}-{start + length - 1}"} | ({"if-match": etag} if etag else {})
        seen: list[str] = []

        def judge(reply: Reply) -> int | None:
            if not 200 <= reply.status < 300:
                return None
            _check_range(reply, key, start, length)
            seen.append(_etag(reply))
            if etag and seen[-1] != etag:
                raise Conflict(f"{key} was replaced while it was read", hint="start again")
            return length

        await self._receive(self._operation(api.GET_OBJECT, key, headers=headers), judge, sink)
        return seen[-1]

    async def stat(self, key: str) -> Stat:
        """One HEAD."""
        reply = await self._client.call(self._operation(api.HEAD_OBJECT, key, headers=_WITH_CHECKSUM))
        from email.utils import parsedate_to_datetime  # most pulls never ask for an object's age

        try:
            modified = parsedate_to_datetime(reply.headers.get("last-modified", "")).timestamp()
        except ValueError as error:
            raise RemoteError(f"The reply about {key} has no Last-Modified") from error
        return Stat(key, _length(reply, key), _etag(reply), modified, self._checksum_in(reply))

    async def write(
        self,
        key: str,
        data: Sequence[memoryview] | bytes,
        *,
        condition: Condition = None,
        checksum: bytes | None = None,
    ) -> str:
        """One PUT, always with a checksum for bytes: it comes back to readers."""
        if checksum is None and isinstance(data, bytes):
            checksum = self._checksum_of(data)
        headers = _conditional(condition) | self._announced(checksum)
        operation = self._operation(api.PUT_OBJECT, key, headers=headers, body=data, check=self._echo(checksum, key))
        try:
            reply = await self._client.call(operation)
        except MissingRemote:
            raise
        except NotFound as error:
            if not isinstance(condition, IfMatch):
                raise
            raise Conflict(f"{key} was deleted by somebody else") from error
        return _etag(reply)

    async def write_all(self, objects: Sequence[Blob], *, condition: Condition = None, jobs: int) -> Sequence[bool]:
        """A volley of PUTs."""
        if not objects or any(blob.checksum is None for blob in objects):
            return [False] * len(objects)
        pattern = self._operation(api.PUT_OBJECT, objects[0].key, headers=_conditional(condition))
        members = [
            Member(self._bucket.prefix + blob.key, documents.encode(blob.checksum or b""), blob.data)
            for blob in objects
        ]
        return await self._client.call_all(pattern, self._checksum_header, members, connections=jobs)

    async def start_upload(self, key: str, *, size: int, part_bytes: int) -> Upload:
        """CreateMultipartUpload, asking for a checksum of the full object. Stores that know it repeat its name."""
        headers = {"x-amz-checksum-algorithm": self._checksum.upper(), "x-amz-checksum-type": "FULL_OBJECT"}
        operation = self._operation(api.CREATE_UPLOAD, key, query=[("uploads", "")], headers=headers)
        reply = await self._client.call(operation)
        checked = reply.headers.get("x-amz-checksum-algorithm", "").lower() == self._checksum
        return Upload(key, documents.upload_id(reply.body), from_files=checked and await self._client.sends_files())

    async def send_part(
        self, upload: Upload, number: int, data: Sequence[memoryview] | Extent, *, checksum: bytes | None
    ) -> Part:
        """UploadPart."""
        query = [("partNumber", str(number)), ("uploadId", upload.id)]
        operation = self._operation(
            api.UPLOAD_PART, upload.key, query=query, headers=self._announced(checksum), body=data,
            check=self._echo(checksum, upload.key),
        )  # fmt: skip
        etag = _etag(await self._client.call(operation))
        return Part(number, body_bytes(data), etag, checksum, documents.md5(etag))

    async def list_parts(self, upload: Upload) -> builtins.list[Part]:
        """ListParts, page by page."""
        found: builtins.list[Part] = []
        marker: str | None = "0"
        while marker is not None:
            query = [("uploadId", upload.id), ("max-parts", "1000"), ("part-number-marker", marker)]
            reply = await self._client.call(
                self._operation(api.LIST_PARTS, upload.key, query=query), body_bytes_max=_LISTING_BYTES_MAX
            )
            page = documents.parts(reply.body, self._checksum)
            found.extend(page.parts)
            marker = _onward(marker, page.next)
        latest = {part.number: part for part in found}  # SeaweedFS lists a replaced part beside its successor
        return [latest[number] for number in sorted(latest)]

    async def complete_upload(self, upload: Upload, parts: Sequence[Part], *, checksum: bytes | None) -> str:
        """CompleteMultipartUpload if the key is free; an error inside a reply of success is an error."""
        headers = self._completing | {"x-amz-mp-object-size": str(sum(part.size for part in parts))}
        if checksum is not None:
            headers |= self._announced(checksum) | {"x-amz-checksum-type": "FULL_OBJECT"}
        operation = self._operation(
            api.COMPLETE_UPLOAD,
            upload.key,
            query=[("uploadId", upload.id)],
            headers=headers | {"content-type": "application/xml"},
            body=documents.complete_request(parts, self._checksum),
            reply_seconds=_COMPLETE_SECONDS,
            check=lambda reply: documents.check_completion(reply.body),
        )
        reply = await self._client.call(operation)
        if documents.refusal(reply.body):
            raise self._client.refused(operation, reply)
        return documents.completed(reply.body)

    async def abort_upload(self, upload: Upload) -> None:
        """AbortMultipartUpload."""
        operation = self._operation(api.ABORT_UPLOAD, upload.key, query=[("uploadId", upload.id)])
        await self._unless_gone(operation)

    async def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        """ListMultipartUploads, page by page."""
        query = [("uploads", ""), ("prefix", self._bucket.prefix + prefix), ("encoding-type", "url")]
        marker: tuple[str, str] | None = ("", "")
        while marker is not None:
            after = [("key-marker", marker[0]), ("upload-id-marker", marker[1])] if marker[0] else []
            reply = await self._client.call(
                self._listing(api.LIST_UPLOADS, [*query, *after]), body_bytes_max=_LISTING_BYTES_MAX
            )
            page = documents.uploads(reply.body)
            for upload in page.uploads:
                if (key := self._relative(upload.key)).startswith(prefix):
                    yield Upload(key, upload.id)
            marker = _onward(marker, page.next)

    async def list(self, prefix: str) -> AsyncIterator[Stat]:
        """ListObjectsV2, page by page."""
        query = [("list-type", "2"), ("prefix", self._bucket.prefix + prefix), ("encoding-type", "url")]
        marker: str | None = ""
        while marker is not None:
            after = [("continuation-token", marker)] if marker else []
            reply = await self._client.call(
                self._listing(api.LIST_OBJECTS, [*query, *after]), body_bytes_max=_LISTING_BYTES_MAX
            )
            page = documents.objects(reply.body)
            for found in page.objects:
                yield Stat(self._relative(found.key), found.size, found.etag, found.modified_at)
            marker = _onward(marker, page.next)

    async def delete(self, key: str, *, condition: IfMatch | None = None) -> None:
        """DeleteObject; a store that does not implement conditional deletes is asked again without."""
        try:
            await self._unless_gone(self._operation(api.DELETE_OBJECT, key, headers=_conditional(condition)))
        except Conflict as error:
            if condition is not None:
                raise
            # No condition was sent, so this answers another request, or another writer holds the key for a moment.
            raise RemoteError(f"deleting {key} was answered with a conflict: {error.message}") from error
        except RemoteError as error:
            if condition is None or error.retryable:
                raise
            await self.delete(key)

    async def locate(self, key: str) -> Located | None:
        """Bucket and key, as CopyObject wants them."""
        path = quote(f"{self._bucket.name}/{self._bucket.prefix}{key}", safe="/-_.~")
        return Located(await self._client.store(), path, self._terms.owner)

    async def copy(self, source: Located, key: str, *, size: int) -> bool:
        """CopyObject, which takes up to 5 GiB."""
        if source.store != await self._client.store() or size > _PUT_BYTES_MAX:
            return False
        headers = {
            "x-amz-copy-source": source.path,
            "x-amz-metadata-directive": "REPLACE",
            "x-amz-tagging-directive": "REPLACE",  # reading tags would take one more permission
            "x-amz-checksum-algorithm": self._checksum.upper(),
        }
        if source.owner is not None:
            headers["x-amz-source-expected-bucket-owner"] = source.owner
        operation = self._operation(
            api.COPY_OBJECT, key, headers=headers, reply_seconds=_COMPLETE_SECONDS,
            check=lambda reply: documents.check_copy(reply.body),
        )  # fmt: skip
        reply = await self._client.call(operation)
        if documents.refusal(reply.body):
            raise self._client.refused(operation, reply)
        return True

    async def place(self) -> str:
        """Host of the endpoint, bucket and prefix."""
        return f"{await self._client.host()}/{self._bucket.name}/{self._bucket.prefix}".rstrip("/")

    async def access(self) -> Access:
        """Endpoint, region, source of the credentials, clock."""
        return await self._client.access()

    async def conditional_writes(self) -> bool:
        """What the probe remembers, else finds out with a scratch key."""
        return await self._probe.honoured(self, endpoint=await self._client.host())

    async def aclose(self) -> None:
        """Close connections."""
        await self._client.aclose()

    def _operation(
        self,
        called: Api,
        key: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        headers: dict[str, str] | None = None,
        body: Body = b"",
        reply_seconds: float | None = None,
        check: Callable[[Reply], None] | None = None,
    ) -> Operation:
        terms = self._terms.headers(called, key)
        whole = self._bucket.prefix + key
        return Operation(called, whole, key, query, {**terms, **(headers or {})}, body, reply_seconds, check)

    def _listing(self, called: Api, query: Sequence[tuple[str, str]]) -> Operation:
        return Operation(called, "", f"the listing of {self._bucket.url}", query, self._terms.headers(called, ""))

    async def _receive(self, operation: Operation, judge: Judge, sink: Sink) -> Reply:
        async def send(request: Request) -> Reply:
            return await self._wire.receive(request, judge=judge, sink=sink)

        return await self._client.send(operation, send)

    async def _unless_gone(self, operation: Operation) -> None:
        try:
            await self._client.call(operation)
        except MissingRemote:
            raise
        except NotFound:
            return

    def _announced(self, checksum: bytes | None) -> dict[str, str]:
        return {} if checksum is None else {self._checksum_header: documents.encode(checksum)}

    def _checksum_of(self, data: bytes) -> bytes:
        return self._digest.update(data).to_bytes(self._digest.size_bytes, "big")

    def _checksum_in(self, reply: Reply) -> bytes | None:
        """The checksum of the full object that a reply tells, if it is of our kind."""
        if reply.headers.get("x-amz-checksum-type", "FULL_OBJECT") != "FULL_OBJECT":
            return None
        return documents.checksum_value(reply.headers.get(self._checksum_header, ""), self._checksum)

    def _echo(self, checksum: bytes | None, key: str) -> Callable[[Reply], None]:
        """Amazon repeats the checksum of what it stored: another one is the reply to another request, gone astray."""
        sent = None if checksum is None else documents.encode(checksum)

        def check(reply: Reply) -> None:
            if sent is None or reply.headers.get(self._checksum_header) in (None, sent):
                return
            if self._checksum_in(reply) not in (None, checksum):
                raise RemoteError(f"{key} was sent, but the reply is about something else")

        return check

    def _relative(self, key: str) -> str:
        if not key.startswith(self._bucket.prefix):
            raise RemoteError(f"The store listed {key!r}, which is not below the prefix that was asked for")
        return key[len(self._bucket.prefix) :]


class _Whole:
    """A sink for a small object, whose size is known by the time its first byte comes."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._done = 0

    def buffer(self) -> memoryview:
        return memoryview(self.data)[self._done :]

    def filled(self, count: int) -> None:
        self._done += count


def _conditional(condition: Condition) -> dict[str, str]:
    match condition:
        case IfAbsent():
            return {"if-none-match": "*"}
        case IfMatch(etag):
            return {"if-match": etag}
        case None:
            return {}


def _check_range(reply: Reply, key: str, start: int, length: int) -> None:
    """Refuse a reply of success that is not exactly the range that was asked for."""
    described = _CONTENT_RANGE.fullmatch(reply.headers.get("content-range", ""))
    if reply.status != 206 or described is None:
        raise RemoteError(f"{key}: a range was asked for, the reply (status {reply.status}) is not one")
    first, last, total = described[1], described[2], described[3]
    if total != "*" and int(total) < start + length:
        raise IntegrityError(f"{key} is {total} bytes, expected at least {start + length}")
    if (int(first), int(last)) != (start, start + length - 1):
        raise RemoteError(f"{key}: bytes {start}-{start + length - 1} were asked for, the reply has {first}-{last}")
    _check_plain(reply, key)
    # A chunked reply announces no length; the wire counts its bytes against the range.
    if reply.headers.get("content-length", str(length)) != str(length):
        raise RemoteError(f"{key}: {length} bytes were asked for, the reply has {reply.headers['content-length']}")


def _length(reply: Reply, key: str) -> int:
    """Content-Length of a body that is not encoded."""
    _check_plain(reply, key)
    text = reply.headers.get("content-length", "")
    if not re.fullmatch(r"[0-9]{1,16}", text, re.ASCII):
        raise RemoteError(f"{key}: the reply does not say how long it is")
    return int(text)


def _check_plain(reply: Reply, key: str) -> None:
    if reply.headers.get("content-encoding", "identity") not in ("identity", ""):
        raise RemoteError(f"{key}: the reply is encoded as {reply.headers['content-encoding']!r}, expected plain bytes")


def _etag(reply: Reply) -> str:
    etag = reply.headers.get("etag", "")
    if not etag:
        raise RemoteError("The reply has no ETag")
    return etag


def _onward(marker: T, following: T | None) -> T | None:
    """The next page's marker; a store that sends us round in circles is refused."""
    if following is not None and (following == marker or not any(following)):
        raise RemoteError("The store's listing does not move on")
    return following
