"""What the S3 remote makes of refusals and of replies that are not what was asked for, on a server of ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from msgspec.structs import replace

from bentosync.errors import (
    AuthError,
    BentoMLException,
    Conflict,
    IntegrityError,
    InvalidArgument,
    NetworkError,
    NotFound,
    RemoteError,
    Throttled,
    UnknownHost,
    UnsafeInput,
    Unsupported,
)
from bentosync.events import Event, Warned
from bentosync.remote.contract import Forbidden, IfAbsent, IfMatch, Part, Remote, Upload
from bentosync.remote.open import open_remote
from bentosync.settings import RemoteSettings, TransferSettings
from tests.remote.conformance import Collector
from tests.remote.test_conformance import bare_s3
from tests.servers.raw import Connection, RawServer, Received, Script, serve
from tests.servers.s3 import S3Server

UPLOAD = Upload("k", "id")
ETAG = 'ETag: "e"\r\n'


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in S3Server("").environment.items():
        monkeypatch.setenv(name, value)


@contextlib.asynccontextmanager
async def bucket(script: Script, **settings: object) -> AsyncIterator[tuple[Remote, RawServer]]:
    """A remote on a server that follows `script`."""
    async with serve(script) as server:
        remote = bare_s3(RemoteSettings("s3://bucket/p", endpoint_url=server.url, **settings))  # type: ignore[arg-type]
        try:
            yield remote, server
        finally:
            await remote.aclose()


def always(body: bytes = b"", *, status: str, headers: str = "") -> Script:
    return lambda connection, received: connection.reply(body, status=status, headers=headers)


def xml(code: str, more: str = "") -> bytes:
    return f"<Error><Code>{code}</Code><Message>told\x1b</Message>{more}</Error>".replace("\x1b", "").encode()


@pytest.mark.parametrize(
    ("status", "code", "family", "word"),
    [
        ("404 Not Found", "NoSuchBucket", NotFound, "Bucket bucket"),
        ("404 Not Found", "NoSuchKey", NotFound, "k"),
        ("403 Forbidden", "AccessDenied", Forbidden, "env"),
        ("403 Forbidden", "InvalidObjectState", RemoteError, "archived"),
        ("403 Forbidden", "InvalidAccessKeyId", AuthError, "env"),
        ("403 Forbidden", "SignatureDoesNotMatch", AuthError, "env"),
        ("400 Bad Request", "ExpiredToken", AuthError, "expired"),
        ("403 Forbidden", "RequestTimeTooSkewed", AuthError, "clock"),
        ("503 Slow Down", "SlowDown", Throttled, "slow down"),
        ("429 Too Many", "TooManyRequests", Throttled, "slow down"),
        ("500 Oops", "InternalError", RemoteError, "InternalError"),
        ("400 Bad Request", "RequestTimeout", RemoteError, "RequestTimeout"),
        ("400 Bad Request", "BadDigest", IntegrityError, "other bytes"),
        ("412 Failed", "PreconditionFailed", Conflict, "somebody else"),
        ("409 Conflict", "ConditionalRequestConflict", Conflict, "somebody else"),
        ("400 Bad Request", "EntityTooSmall", InvalidArgument, "EntityTooSmall"),
        ("501 Not Implemented", "NotImplemented", RemoteError, "NotImplemented"),
        ("418 Teapot", "Strange", RemoteError, "Strange"),
        ("302 Found", "", RemoteError, "302"),
    ],
)
async def test_every_refusal_has_its_family_and_names_what_matters(
    status: str, code: str, family: type[BentoMLException], word: str
) -> None:
    async with bucket(always(xml(code), status=status)) as (remote, _):
        with pytest.raises(family) as caught:
            await remote.write("k", b"x")
    assert word in caught.value.message
    assert "test/secret" not in caught.value.message
    assert caught.value.retryable == (status[:3] in ("500", "503", "429") or code in ("RequestTimeout", "BadDigest"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), ("1.5", 1.5), ("", None), ("garbage", None), ("-1", None), ("Mon, 01 Jan 1990 00:00:00 GMT", 0.0)],
)
async def test_retry_after_is_read_as_seconds_or_date_or_not_at_all(text: str, seconds: float | None) -> None:
    async with bucket(always(status="503 Slow Down", headers=f"Retry-After: {text}\r\n")) as (remote, _):
        with pytest.raises(Throttled) as caught:
            await remote.stat("k")
    assert caught.value.retry_after_seconds == seconds


async def test_another_region_is_followed_once() -> None:
    async def script(connection: Connection, received: Received) -> None:
        if "/eu-west-3/" in received.headers["authorization"]:
            await connection.reply(headers=ETAG)
        else:
            await connection.reply(status="301 Moved", headers="x-amz-bucket-region: eu-west-3\r\n")

    async with bucket(script) as (remote, server):
        await remote.write("k", b"x")
        await remote.write("k", b"x")
        assert len(server.requests) == 3
    turn = iter(range(100))

    async def circles(connection: Connection, received: Received) -> None:
        await connection.reply(xml("AuthorizationHeaderMalformed", f"<Region>r{next(turn)}</Region>"), status="400 Bad")

    async with bucket(circles) as (remote, server):
        with pytest.raises(AuthError, match="AuthorizationHeaderMalformed"):
            await remote.write("k", b"x")
        assert len(server.requests) == 2


async def test_a_skewed_clock_is_corrected_once_by_the_date_of_the_store() -> None:
    there = datetime.now(UTC) + timedelta(days=3)

    async def script(connection: Connection, received: Received) -> None:
        ok = received.headers["x-amz-date"].startswith(there.strftime("%Y%m%d"))
        body, status = (b"", "200 OK") if ok else (xml("RequestTimeTooSkewed"), "403 Forbidden")
        await connection.reply(body, status=status, headers=f"Date: {format_datetime(there, usegmt=True)}\r\n" + ETAG)

    async with bucket(script) as (remote, server):
        await remote.write("k", b"x")
        assert len(server.requests) == 2


async def test_expired_credentials_are_loaded_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "old")

    async def script(connection: Connection, received: Received) -> None:
        if received.headers["x-amz-security-token"] == "new":
            await connection.reply(headers=ETAG)
        else:
            monkeypatch.setenv("AWS_SESSION_TOKEN", "new")
            await connection.reply(xml("ExpiredToken"), status="400 Bad Request")

    async with bucket(script) as (remote, server):
        await remote.write("k", b"x")
        assert len(server.requests) == 2


async def test_without_credentials_nothing_is_sent_and_the_hint_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    async with bucket(always(status="200 OK"), name="lab") as (remote, server):
        with pytest.raises(AuthError, match='remote "lab"') as caught:
            await remote.stat("k")
        assert not server.requests
    assert "AWS_ACCESS_KEY_ID" in (caught.value.hint or "")


async def test_an_unknown_profile_is_an_auth_error_that_names_it() -> None:
    async with bucket(always(status="200 OK"), profile="nobody") as (remote, _):
        with pytest.raises(AuthError, match="nobody"):
            await remote.stat("k")


async def test_anonymous_requests_carry_no_signature() -> None:
    async with bucket(always(xml("AccessDenied"), status="403 Forbidden"), anonymous=True) as (remote, server):
        with pytest.raises(AuthError, match="anonymous"):
            await remote.read("k", bytes_max=10)
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("call", "operation", "permission"),
    [
        (lambda remote: remote.read("k", bytes_max=9), "GetObject of k", "s3:GetObject on arn:aws:s3:::bucket/p/k"),
        (lambda remote: remote.stat("k"), "HeadObject of k", "s3:GetObject on arn:aws:s3:::bucket/p/k"),
        (lambda remote: remote.write("k", b""), "PutObject of k", "s3:PutObject on arn:aws:s3:::bucket/p/k"),
        (lambda remote: remote.delete("k"), "DeleteObject of k", "s3:DeleteObject on arn:aws:s3:::bucket/p/k"),
        (
            lambda remote: anext(aiter(remote.list(""))),
            "ListObjectsV2 (the listing of",
            "s3:ListBucket on arn:aws:s3:::bucket,",
        ),
        (
            lambda remote: anext(aiter(remote.list_uploads(""))),
            "ListMultipartUploads (the listing of",
            "s3:ListBucketMultipartUploads on arn:aws:s3:::bucket,",
        ),
        (
            lambda remote: remote.list_parts(UPLOAD),
            "ListParts of k",
            "s3:ListMultipartUploadParts on arn:aws:s3:::bucket/p/k",
        ),
        (
            lambda remote: remote.abort_upload(UPLOAD),
            "AbortMultipartUpload of k",
            "s3:AbortMultipartUpload on arn:aws:s3:::bucket/p/k",
        ),
    ],
)
async def test_a_refusal_names_the_operation_the_object_and_the_permission(
    call: Callable[[Remote], Awaitable[object]], operation: str, permission: str
) -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.reply(b"" if received.method == "HEAD" else xml("AccessDenied"), status="403 Forbidden")

    async with bucket(script) as (remote, _):
        with pytest.raises(Forbidden) as caught:
            await call(remote)
    assert operation in caught.value.message
    assert permission in (caught.value.hint or "")
    assert caught.value.permission == permission.partition(" ")[0]
    # What is not there looks refused to who may not list.
    assert ("s3:ListBucket on the bucket" in (caught.value.hint or "")) == (caught.value.permission == "s3:GetObject")


async def test_an_owner_that_was_expected_is_named_where_access_is_denied() -> None:
    script = always(xml("AccessDenied"), status="403 Forbidden")
    async with bucket(script, expected_bucket_owner="111122223333") as (remote, _):
        with pytest.raises(Forbidden) as caught:
            await remote.write("k", b"")
    assert "111122223333" in (caught.value.hint or "")


async def test_the_permission_that_the_store_names_itself_is_believed() -> None:
    told = b"<Error><Code>AccessDenied</Code><Message>User: arn:aws:iam::1:user/ann is not authorized to perform: " + (
        b"kms:GenerateDataKey on resource: arn:aws:kms:eu:1:key/2</Message></Error>"
    )
    async with bucket(always(told, status="403 Forbidden")) as (remote, _):
        with pytest.raises(Forbidden) as caught:
            await remote.write("k", b"")
    assert caught.value.permission == "kms:GenerateDataKey"
    assert "grant kms:GenerateDataKey" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("AccessControlListNotSupported", "acl"),
        ("InvalidStorageClass", "storage_class"),
        ("KMS.NotFoundException", "sse_kms_key_id"),
    ],
)
async def test_a_setting_that_the_bucket_does_not_take_is_named(code: str, word: str) -> None:
    async with bucket(always(xml(code), status="400 Bad Request")) as (remote, _):
        with pytest.raises(InvalidArgument) as caught:
            await remote.write("k", b"")
    assert word in (caught.value.hint or "")


async def test_an_archived_object_is_told_with_how_to_restore_it() -> None:
    script = always(xml("InvalidObjectState", "<StorageClass>GLACIER</StorageClass>"), status="403 Forbidden")
    async with bucket(script) as (remote, _):
        with pytest.raises(RemoteError) as caught:
            await remote.read_range("files/a b", 0, 5, Collector())
    assert not caught.value.retryable
    assert "restore-object --bucket bucket --key 'p/files/a b'" in (caught.value.hint or "")


async def test_an_object_under_a_key_of_its_own_is_told_as_such() -> None:
    told = (
        b"<Error><Code>InvalidRequest</Code><Message>The object was stored using a form of Server Side Encryption. "
        + (b"The correct parameters must be provided to retrieve the object.</Message></Error>")
    )
    async with bucket(always(told, status="400 Bad Request")) as (remote, _):
        with pytest.raises(Unsupported, match="SSE-C"):
            await remote.read("k", bytes_max=9)


async def test_plain_http_to_another_machine_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is the proxy for a host that does not exist."""
    seen: list[Event] = []

    async def use(settings: RemoteSettings) -> list[Event]:
        seen.clear()
        remote = open_remote(settings, TransferSettings(), observer=seen.append)
        for _ in range(3):
            await remote.write("k", b"x")
        await remote.aclose()
        return seen

    async with serve(always(status="200 OK", headers=ETAG)) as server:
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        far = RemoteSettings("s3://bucket", endpoint_url="http://far.example")
        (warned,) = await use(far)
        assert isinstance(warned, Warned)
        assert "http://far.example" in warned.message
        assert "allow_http" in (warned.hint or "")
        assert not await use(replace(far, allow_http=True))
        assert not await use(RemoteSettings("s3://bucket", endpoint_url=server.url))


async def test_an_error_inside_a_complete_of_status_200_is_an_error() -> None:
    for code, family in (("InternalError", RemoteError), ("PreconditionFailed", Conflict)):
        async with bucket(always(b'  \n<?xml version="1.0"?>' + xml(code), status="200 OK")) as (remote, _):
            with pytest.raises(family):
                await remote.complete_upload(UPLOAD, [Part(1, 1, "e")], checksum=None)


@pytest.mark.parametrize(
    ("status", "headers", "family"),
    [
        ("200 OK", "", RemoteError),
        ("206 Partial", "", RemoteError),
        ("206 Partial", "Content-Range: bytes 11-14/100\r\n", RemoteError),
        ("206 Partial", "Content-Range: bytes 10-13/100\r\n", RemoteError),
        ("206 Partial", "Content-Range: bytes */100\r\n", RemoteError),
        ("206 Partial", "Content-Range: items 10-14/100\r\n", RemoteError),
        ("206 Partial", "Content-Range: bytes 10-14/100\r\nContent-Encoding: gzip\r\n", RemoteError),
        ("206 Partial", "Content-Range: bytes 10-14/12\r\n", IntegrityError),
        ("206 Partial", 'Content-Range: bytes 10-14/100\r\nETag: "other"\r\n', Conflict),
        ("416 Range", "", IntegrityError),
        ("412 Failed", "", Conflict),
    ],
)
async def test_a_reply_that_is_not_the_range_gives_the_sink_nothing(
    status: str, headers: str, family: type[BentoMLException]
) -> None:
    sink = Collector()
    etag = "" if "ETag" in headers else ETAG
    async with bucket(always(b"12345", status=status, headers=headers + etag)) as (remote, _):
        with pytest.raises(family):
            await remote.read_range("k", 10, 5, sink, etag='"e"')
    assert not sink.data


async def test_a_range_of_another_length_gives_the_sink_nothing() -> None:
    sink = Collector()
    script = always(b"123456", status="206 Partial", headers="Content-Range: bytes 10-14/100\r\n" + ETAG)
    async with bucket(script) as (remote, _):
        with pytest.raises(RemoteError):
            await remote.read_range("k", 10, 5, sink)
    assert not sink.data


async def test_an_object_that_looks_like_an_error_is_data() -> None:
    async with bucket(always(xml("AccessDenied"), status="200 OK", headers=ETAG)) as (remote, _):
        assert (await remote.read("k", bytes_max=1000)).data == xml("AccessDenied")


async def test_an_endless_object_is_refused_by_its_announced_length() -> None:
    async def script(connection: Connection, received: Received) -> None:
        await connection.send(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 99999999999\r\n\r\n')

    async with bucket(script) as (remote, _):
        with pytest.raises(UnsafeInput):
            await remote.read("k", bytes_max=1000)


async def test_a_reply_without_an_etag_is_a_remote_error() -> None:
    async with bucket(always(status="200 OK")) as (remote, _):
        with pytest.raises(RemoteError, match="ETag"):
            await remote.send_part(UPLOAD, 1, [memoryview(b"x")], checksum=None)


async def test_a_listing_that_goes_in_circles_or_leaves_the_prefix_is_refused() -> None:
    circle = (
        b"<ListBucketResult><IsTruncated>true</IsTruncated>"
        b"<NextContinuationToken>t</NextContinuationToken></ListBucketResult>"
    )
    outside = (
        b"<ListBucketResult><Contents><Key>elsewhere/k</Key><Size>1</Size>"
        b"<LastModified>2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>"
    )
    for body, requests in ((circle, 2), (outside, 1)):
        async with bucket(always(body, status="200 OK")) as (remote, server):
            with pytest.raises(RemoteError):
                [found async for found in remote.list("")]
        assert len(server.requests) == requests


async def test_deleting_in_a_missing_bucket_is_an_error_and_a_missing_object_is_not() -> None:
    async with bucket(always(xml("NoSuchBucket"), status="404 Not Found")) as (remote, _):
        with pytest.raises(NotFound):
            await remote.delete("k")
        with pytest.raises(NotFound):
            await remote.write("k", b"", condition=IfMatch("e"))
    async with bucket(always(xml("NoSuchKey"), status="404 Not Found")) as (remote, _):
        await remote.delete("k")
        with pytest.raises(Conflict):
            await remote.write("k", b"", condition=IfMatch("e"))


def answering(absent: str, matched: str) -> Callable[[Connection, Received], Awaitable[None]]:
    """A store whose second If-None-Match and whose If-Match get these statuses."""
    seen: list[str] = []

    async def script(connection: Connection, received: Received) -> None:
        status = "200 OK"
        if received.method == "PUT":
            status = matched if "if-match" in received.headers else absent if seen else status
            seen.append(received.target)
        await connection.reply(status=status, headers=ETAG)

    return script


@pytest.mark.parametrize(
    ("absent", "matched", "honoured"),
    [
        ("412 Failed", "412 Failed", True),
        ("412 Failed", "200 OK", False),
        ("200 OK", "412 Failed", False),
        ("501 Not Implemented", "412 Failed", False),
    ],
)
async def test_conditions_count_as_honoured_only_if_both_are_refused(absent: str, matched: str, honoured: bool) -> None:
    async with bucket(answering(absent, matched)) as (remote, server):
        assert await remote.conditional_writes() is honoured
        asked = len(server.requests)
        assert await remote.conditional_writes() is honoured
    assert len(server.requests) == asked
    assert server.requests[-1].method == "DELETE"
    assert all(received.target.startswith("/bucket/p/.bentosync-probe-") for received in server.requests)


async def test_a_storm_of_503_ends_as_throttled_after_bounded_tries() -> None:
    async with serve(always(status="503 Slow Down")) as server:
        settings = RemoteSettings("s3://bucket", endpoint_url=server.url)
        remote = open_remote(settings, TransferSettings(attempts=5, retry_base_seconds=0.001))
        with pytest.raises(Throttled):
            await remote.write("k", b"x", condition=IfAbsent())
        await remote.aclose()
    assert len(server.requests) == 5


async def test_logs_have_keys_but_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "bentosync")
    async with serve(always(xml("AccessDenied"), status="403 Forbidden")) as server:
        remote = open_remote(RemoteSettings("s3://bucket", endpoint_url=server.url), TransferSettings())
        with pytest.raises(AuthError):
            await remote.write("the/key", b"the body")
        await remote.aclose()
    text = caplog.text
    assert "write the/key" in text
    assert not any(word in text for word in ("test/secret", "Signature=", "the body", "AKIDBENTOSYNCTEST"))


async def test_real_servers_refuse_wrong_credentials_and_missing_buckets(
    seaweed_credentials: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def attempt(url: str, *, anonymous: bool = False) -> BentoMLException:
        endpoint = seaweed_credentials.endpoint_url
        remote = bare_s3(RemoteSettings(url, endpoint_url=endpoint, anonymous=anonymous))
        with pytest.raises(BentoMLException) as caught:
            await remote.write("k", b"x")
        await remote.aclose()
        return caught.value

    missing = await attempt("s3://no-such-bucket")
    assert isinstance(missing, NotFound)
    assert "no-such-bucket" in missing.message
    assert isinstance(await attempt("s3://bench", anonymous=True), AuthError)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert isinstance(await attempt("s3://bench"), AuthError)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "UNKNOWN")
    assert isinstance(await attempt("s3://bench"), AuthError)


async def test_an_endpoint_that_speaks_no_tls_is_told_at_once_with_the_way_out() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    settings = RemoteSettings("s3://bucket", endpoint_url=f"https://127.0.0.1:{port}")
    for remote in (bare_s3(settings), open_remote(settings, TransferSettings())):
        with pytest.raises(NetworkError, match="does not speak TLS") as caught:
            await remote.stat("k")
        assert not caught.value.retryable
        assert "http://" in (caught.value.hint or "")
        await remote.aclose()
    listener.close()


async def test_a_name_that_nobody_has_at_amazon_may_be_a_bucket_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*arguments: object, **named: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    patience = TransferSettings(retry_base_seconds=0.001)
    for remote in (bare_s3(RemoteSettings("s3://bucket")), open_remote(RemoteSettings("s3://bucket"), patience)):
        with pytest.raises(UnknownHost, match=r"bucket\.s3\.us-east-1\.amazonaws\.com") as caught:
            await remote.stat("k")
        assert "--endpoint-url" in (caught.value.hint or "")
        await remote.aclose()


async def test_a_proxy_that_nobody_knows_is_not_taken_for_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://no-such-proxy.invalid:3128")
    remote = open_remote(RemoteSettings("s3://bucket"), TransferSettings(attempts=1))
    with pytest.raises(NetworkError, match=r"proxy no-such-proxy\.invalid") as caught:
        await remote.stat("k")
    assert "HTTPS_PROXY" in (caught.value.hint or "")
    await remote.aclose()


async def test_an_endpoint_nobody_listens_on_is_a_network_error() -> None:
    async with serve(always(status="200 OK")) as server:
        closed = server.url
    remote = bare_s3(RemoteSettings("s3://bucket", endpoint_url=closed))
    with pytest.raises(NetworkError, match=r"127\.0\.0\.1"):
        await remote.stat("k")
    await remote.aclose()
