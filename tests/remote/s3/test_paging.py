from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from bentosync.remote.contract import Remote, Upload
from bentosync.settings import RemoteSettings
from tests.remote.test_conformance import bare_s3
from tests.servers.raw import Connection, RawServer, Received, serve

PAGES = 3


def on(server: RawServer) -> Remote:
    return bare_s3(RemoteSettings("s3://bucket/p", endpoint_url=server.url, anonymous=True))


def asked(received: Received, name: str) -> str:
    return parse_qs(urlsplit(received.target).query, keep_blank_values=True).get(name, [""])[0]


def page(name: str, number: int, item: str, markers: str) -> bytes:
    more = number < PAGES - 1
    return f"<{name}><IsTruncated>{str(more).lower()}</IsTruncated>{markers if more else ''}{item}</{name}>".encode()


async def test_a_listing_follows_its_tokens_to_the_end() -> None:
    async def script(connection: Connection, received: Received) -> None:
        number = int(asked(received, "continuation-token") or 0)
        modified = "<LastModified>2026-01-01T00:00:00Z</LastModified>"
        item = f"<Contents><Key>p/k{number}</Key><Size>1</Size>{modified}</Contents>"
        token = f"<NextContinuationToken>{number + 1}</NextContinuationToken>"
        await connection.reply(page("ListBucketResult", number, item, token))

    async with serve(script) as server:
        remote = on(server)
        assert [found.key async for found in remote.list("k")] == ["k0", "k1", "k2"]
        await remote.aclose()
    assert [asked(received, "prefix") for received in server.requests] == ["p/k"] * PAGES


async def test_uploads_follow_their_two_markers_to_the_end() -> None:
    async def script(connection: Connection, received: Received) -> None:
        number = int(asked(received, "upload-id-marker") or 0)
        assert asked(received, "key-marker") == ("p/k" if number else "")
        item = f"<Upload><Key>p/k</Key><UploadId>{number + 1}</UploadId></Upload>"
        markers = f"<NextKeyMarker>p/k</NextKeyMarker><NextUploadIdMarker>{number + 1}</NextUploadIdMarker>"
        await connection.reply(page("ListMultipartUploadsResult", number, item, markers))

    async with serve(script) as server:
        remote = on(server)
        assert [found async for found in remote.list_uploads("k")] == [Upload("k", text) for text in "123"]
        await remote.aclose()


async def test_parts_follow_their_marker_to_the_end_and_come_once_by_number() -> None:
    async def script(connection: Connection, received: Received) -> None:
        number = int(asked(received, "part-number-marker"))
        item = "".join(
            f"<Part><PartNumber>{part}</PartNumber><Size>5</Size><ETag>e{part}</ETag></Part>"
            for part in (number + 1, number + 1)
        )
        marker = f"<NextPartNumberMarker>{number + 1}</NextPartNumberMarker>"
        await connection.reply(page("ListPartsResult", number, item, marker))

    async with serve(script) as server:
        remote = on(server)
        assert [part.number for part in await remote.list_parts(Upload("k", "u"))] == [1, 2, 3]
        await remote.aclose()
