"""The null server is an S3 as far as clients look, and as bad as it is told to be."""

from __future__ import annotations

import http.client
import shutil
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from perf.null_server import NullServer, serve

pytestmark = pytest.mark.skipif(
    shutil.which("c++") is None, reason="NOT TESTED: no C++ compiler; run scripts/bootstrap"
)

DATA = b"".join(number.to_bytes(4, "little") for number in range(1 << 19))


def call(
    server: NullServer, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    address = urlsplit(server.endpoint_url).netloc
    connection = (
        http.client.HTTPSConnection(address, timeout=10, context=ssl.create_default_context(cafile=server.ca_bundle))
        if server.ca_bundle
        else http.client.HTTPConnection(address, timeout=10)
    )
    try:
        connection.request(method, f"/bench/{path}", body or None, dict(headers or {}))
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "object").write_bytes(DATA)
    return tmp_path


@pytest.mark.parametrize("tls", [False, True])
def test_ranges_are_the_files_bytes(root: Path, tls: bool) -> None:
    with serve(root, tls=tls) as server:
        status, headers, body = call(server, "GET", "object", headers={"Range": "bytes=1000-1500999"})
        assert (status, headers["content-range"]) == (206, f"bytes 1000-1500999/{len(DATA)}")
        assert body == DATA[1000:1501000]
        assert call(server, "GET", "object", headers={"Range": "bytes=-7"})[2] == DATA[-7:]
        assert call(server, "GET", "object")[2] == DATA
        assert call(server, "GET", "object", headers={"Range": f"bytes={len(DATA)}-"})[0] == 416
    assert server.report["requests"]["Get"] == 4


@pytest.mark.parametrize("tls", [False, True])
def test_small_bodies_are_kept_and_large_ones_dropped(tls: bool) -> None:
    with serve(tls=tls) as server:
        call(server, "PUT", "small", b"abc", {"x-amz-meta-mtime": "7", "x-amz-checksum-crc32": "AAAAAA=="})
        call(server, "PUT", "large", DATA * 5)
        assert call(server, "GET", "small")[2] == b"abc"
        headers = call(server, "HEAD", "small", headers={"x-amz-checksum-mode": "ENABLED"})[1]
        assert (headers["x-amz-meta-mtime"], headers["x-amz-checksum-crc32"]) == ("7", "AAAAAA==")
        assert call(server, "HEAD", "large")[1]["content-length"] == str(5 * len(DATA))
        assert call(server, "GET", "large")[0] == 501
    assert server.report["bytes_in"] == 5 * len(DATA) + 3


def test_aws_chunked_bodies_lose_their_framing() -> None:
    framed = b"3;chunk-signature=0\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    headers = {"Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": "5"}
    with serve() as server:
        call(server, "PUT", "chunked", framed, headers)
        assert call(server, "GET", "chunked")[2] == b"abcde"


def test_a_kept_multipart_upload_is_its_parts_in_order(root: Path) -> None:
    with serve(root, keep=True) as server:
        upload = call(server, "POST", "joined?uploads")[2].split(b"<UploadId>")[1].split(b"<")[0].decode()
        for number, part in ((2, DATA[1000:]), (1, DATA[:1000])):
            assert call(server, "PUT", f"joined?partNumber={number}&uploadId={upload}", part)[0] == 200
        call(server, "POST", f"joined?uploadId={upload}", b"<CompleteMultipartUpload/>")
        assert call(server, "GET", "joined")[2] == DATA
    assert (root / "bench" / "joined").read_bytes() == DATA


def test_conditional_writes_are_honoured() -> None:
    with serve() as server:
        first = call(server, "PUT", "pointer", b"1", {"If-None-Match": "*"})
        assert first[0] == 200
        assert call(server, "PUT", "pointer", b"2", {"If-None-Match": "*"})[0] == 412
        assert call(server, "PUT", "pointer", b"2", {"If-Match": '"other"'})[0] == 412
        assert call(server, "PUT", "pointer", b"2", {"If-Match": first[1]["etag"]})[0] == 200
        assert call(server, "GET", "pointer")[2] == b"2"


def test_a_listing_has_pages_and_folders() -> None:
    with serve() as server:
        for name in ("a/1", "a/2", "b/1", "c"):
            call(server, "PUT", name, b"x")
        page = call(server, "GET", "?list-type=2&max-keys=2")[2]
        assert page.count(b"<Contents>") == 2 and b"<IsTruncated>true" in page
        assert call(server, "GET", "?list-type=2&continuation-token=a/2")[2].count(b"<Contents>") == 2
        page = call(server, "GET", "?list-type=2&delimiter=/")[2]
        assert (page.count(b"<CommonPrefixes>"), page.count(b"<Contents>")) == (2, 1)


def test_the_share_of_refusals_is_the_one_asked_for_and_repeats(root: Path) -> None:
    def statuses() -> list[int]:
        with serve(root, conditions={"refuse-share": "0.3", "seed": "5"}) as server:
            return [call(server, "HEAD", "object")[0] for _ in range(60)]

    first = statuses()
    assert set(first) == {200, 503}
    assert 8 <= first.count(503) <= 28
    assert statuses() == first


def test_requests_above_the_limit_are_told_to_slow_down(root: Path) -> None:
    with serve(root, conditions={"slow-down-above": "2", "round-trip": "0.1"}) as server, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: call(server, "HEAD", "object")[0], range(8)))
    assert {200, 503} == set(found)


def test_a_rate_and_a_round_trip_take_their_time(root: Path) -> None:
    with serve(root, conditions={"rate-total": "2e7", "round-trip": "0.05"}) as server:
        began = time.monotonic()
        assert call(server, "GET", "object")[2] == DATA
    # A bound that the slowest machine keeps; the server makes up for having slept too long, so it may begin ahead.
    assert time.monotonic() - began > 0.1 + 0.8 * len(DATA) / 2e7


def test_one_stream_stalls_and_the_others_do_not(root: Path) -> None:
    with serve(root, conditions={"stall-nth": "2"}) as server:
        assert call(server, "GET", "object")[2] == DATA
        connection = http.client.HTTPConnection(urlsplit(server.endpoint_url).netloc, timeout=0.2)
        connection.request("GET", "/bench/object")
        with pytest.raises(TimeoutError):
            connection.getresponse().read()
        connection.close()
        assert call(server, "GET", "object")[2] == DATA
