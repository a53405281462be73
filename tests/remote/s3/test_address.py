from __future__ import annotations

import pytest

from bentosync.errors import InvalidArgument
from bentosync.remote.s3.address import Bucket, address, moved, parse_bucket


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://models", Bucket("models", "")),
        ("s3://models/", Bucket("models", "")),
        ("s3://models/team/a", Bucket("models", "team/a/")),
        ("s3://models/team/a/", Bucket("models", "team/a/")),
        ("s3://dotted.name/a%20b", Bucket("dotted.name", "a b/")),
    ],
)
def test_a_url_names_a_bucket_and_a_prefix(url: str, expected: Bucket) -> None:
    assert parse_bucket(url) == expected


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///prefix", "s3://a", "s3://-bucket", "s3://key:secret@bucket", "s3://bucket?x=1",
            "s3://bucket/a//b", "s3://bucket/../b", "s3://bucket:9000/x", "s3://bück", "s3://a..b", "s3://a.-b",
            "s3://192.168.0.1", "s3://" + 64 * "a", "s3://models--use1-az4--x-s3/p", "s3://arn:aws:s3:::bucket"]
)  # fmt: skip
def test_a_url_that_names_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_bucket(url)


@pytest.mark.parametrize(
    ("bucket", "endpoint", "region", "addressing", "base"),
    [
        ("b1x", None, None, "auto", "https://b1x.s3.us-east-1.amazonaws.com"),
        ("b1x", None, "eu-west-1", "auto", "https://b1x.s3.eu-west-1.amazonaws.com"),
        ("b1x", None, "cn-north-1", "path", "https://s3.cn-north-1.amazonaws.com.cn/b1x"),
        ("with.dots", None, None, "auto", "https://s3.us-east-1.amazonaws.com/with.dots"),
        ("b1x", "http://127.0.0.1:9000", None, "auto", "http://127.0.0.1:9000/b1x"),
        ("b1x", "http://127.0.0.1:9000/", None, "path", "http://127.0.0.1:9000/b1x"),
        ("b1x", "https://store.example/base/", None, "path", "https://store.example/base/b1x"),
        ("b1x", "https://store.example", None, "virtual", "https://b1x.store.example"),
    ],
)
def test_requests_go_where_the_settings_say(
    bucket: str, endpoint: str | None, region: str | None, addressing: str, base: str
) -> None:
    at = address(bucket, endpoint_url=endpoint, region=region, addressing=addressing)  # type: ignore[arg-type]
    assert at.base == base
    assert at.url("a b/c+d", [("b", "2 3"), ("a", "")]) == f"{base}/a%20b/c%2Bd?a=&b=2%203"


@pytest.mark.parametrize("bucket", ["Models", "my_models"])
def test_a_name_that_fits_no_host_is_refused_where_it_would_be_one(bucket: str) -> None:
    with pytest.raises(InvalidArgument, match="host name"):
        address(bucket, endpoint_url=None, region=None, addressing="auto")
    old = address(bucket, endpoint_url=None, region=None, addressing="path")
    assert old.base == f"https://s3.us-east-1.amazonaws.com/{bucket}"
    address(bucket, endpoint_url="https://store.example", region=None, addressing="auto")


@pytest.mark.parametrize(
    ("endpoint", "exposed"),
    [
        (None, False),
        ("https://10.0.0.5:9000", False),
        ("http://127.0.0.1:9000", False),
        ("http://127.8.9.10", False),
        ("http://[::1]:9000", False),
        ("http://localhost:9000", False),
        ("http://s3.localhost", False),
        ("http://10.0.0.5:9000", True),
        ("http://localhost.example", True),
        ("http://store", True),
    ],
)
def test_plain_http_is_exposed_to_every_machine_but_this_one(endpoint: str | None, exposed: bool) -> None:
    assert address("bucket", endpoint_url=endpoint, region=None, addressing="path").exposed == exposed


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:9000", "ftp://x", "http://", "http://user:secret@host", "http://h?a=b"]
)
def test_an_endpoint_that_is_no_address_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidArgument):
        address("b1x", endpoint_url=endpoint, region=None, addressing="auto")


def test_another_region_changes_amazons_host_and_nobody_elses() -> None:
    amazon = address("b1x", endpoint_url=None, region="us-east-1", addressing="auto")
    other = address(
        "b1x", endpoint_url="http://s3.us-east-1.amazonaws.com.evil.example", region=None, addressing="auto"
    )
    there = moved(amazon, "eu-west-1")
    assert there is not None
    assert (there.base, there.region) == ("https://b1x.s3.eu-west-1.amazonaws.com", "eu-west-1")
    assert moved(there, "eu-west-1") is None
    assert moved(amazon, "evil.example/") is None
    elsewhere = moved(other, "eu-west-1")
    assert elsewhere is not None
    assert elsewhere.base == other.base
