from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from bentosync.remote.s3 import address
from bentosync.remote.s3.signing import EMPTY_SHA256, UNSIGNED_PAYLOAD, Credentials, Signer

NOW = datetime(2026, 11, 22, 11, 12, 13, tzinfo=UTC)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


def by_botocore(credentials: Credentials, method: str, url: str, headers: dict[str, str], payload: str) -> str:
    """The Authorization header that botocore makes of the same request at the same time."""
    request = AWSRequest(method, url, headers={**headers, "x-amz-content-sha256": payload})
    signer = auth.S3SigV4Auth(
        BotoCredentials(credentials.access_key, credentials.secret_key, credentials.token), "s3", "eu-west-3"
    )
    request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    if credentials.token:
        request.headers["X-Amz-Security-Token"] = credentials.token
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signature = signer.signature(text, request)
    signed = signer.signed_headers(signer.headers_to_sign(request))
    scope = signer.scope(request)
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={signed}, Signature={signature}"


@given(key=TEXT, name=TEXT, value=TEXT, token=st.none() | st.just("to/ken+="), virtual=st.booleans())
def test_every_signature_is_the_one_botocore_makes(
    key: str, name: str, value: str, token: str | None, virtual: bool
) -> None:
    credentials = Credentials("AKID", "sec/ret", token)
    at = address.address(
        "bucket", endpoint_url="http://s3.example:80", region="eu-west-3", addressing="virtual" if virtual else "path"
    )
    url = at.url(key, [(name, value), ("uploads", "")])
    headers = {"range": "bytes=0-9", "if-match": '"abc  def"', "x-amz-checksum-crc32": "AAAAAA=="}
    for payload in (EMPTY_SHA256, UNSIGNED_PAYLOAD):
        ours = Signer().sign(
            credentials, method="GET", url=url, headers=headers, payload=payload, region="eu-west-3", now=NOW
        )
        assert ours["Authorization"] == by_botocore(credentials, "GET", url, headers, payload)


NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True).map(lambda name: f"x-amz-meta-{name}")
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)


@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"]),
    key=TEXT,
    query=st.lists(
        st.tuples(TEXT, st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)), max_size=4
    ),
    headers=st.dictionaries(NAMES, VALUES, max_size=6),
    token=st.none() | st.from_regex(r"[A-Za-z0-9/+=]{1,200}", fullmatch=True),
    secret=st.from_regex(r"[A-Za-z0-9/+=]{1,60}", fullmatch=True),
)
def test_so_it_is_whatever_the_method_the_query_and_the_headers(
    method: str, key: str, query: list[tuple[str, str]], headers: dict[str, str], token: str | None, secret: str
) -> None:
    credentials = Credentials("AKID", secret, token)
    at = address.address("bucket", endpoint_url="https://s3.example:9000", region="eu-west-3", addressing="path")
    url = at.url(key, list(dict(query).items()))
    # A name in two spellings would be two headers to us, and one to botocore.
    headers = {name.lower(): value for name, value in headers.items()}
    ours = Signer().sign(
        credentials, method=method, url=url, headers=headers, payload=UNSIGNED_PAYLOAD, region="eu-west-3", now=NOW
    )
    assert ours["Authorization"] == by_botocore(credentials, method, url, headers, UNSIGNED_PAYLOAD)


def test_the_key_of_the_day_follows_secret_day_and_region() -> None:
    def sign(signer: Signer, secret: str, region: str, day: int) -> str:
        return signer.sign(
            Credentials("A", secret),
            method="GET",
            url="https://h/b/k",
            headers={},
            payload=EMPTY_SHA256,
            region=region,
            now=NOW.replace(day=day),
        )["Authorization"]

    one = Signer()
    cases = [("s", "us-east-1", 22), ("s", "us-east-1", 22), ("t", "us-east-1", 22), ("t", "eu-west-1", 22)]
    cases += [("t", "eu-west-1", 23), ("s", "us-east-1", 22)]
    for secret, region, day in cases:
        assert sign(one, secret, region, day) == sign(Signer(), secret, region, day)


def test_credentials_do_not_show_their_secrets() -> None:
    shown = repr(Credentials("AKIDVISIBLE", "thesecret", "thetoken", "env"))
    assert "env" in shown
    assert not any(word in shown for word in ("AKIDVISIBLE", "thesecret", "thetoken"))


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
def test_the_signed_host_has_no_default_port(scheme: str, port: int) -> None:
    def sign(url: str) -> str:
        return Signer().sign(
            Credentials("A", "s"), method="GET", url=url, headers={}, payload=EMPTY_SHA256, region="r", now=NOW
        )["Authorization"]

    assert sign(f"{scheme}://host:{port}/k") == sign(f"{scheme}://host/k")
    assert sign(f"{scheme}://host:{port + 1}/k") != sign(f"{scheme}://host/k")
    assert urlsplit(f"{scheme}://host:{port}/k").port == port


@given(keys=st.lists(TEXT, min_size=1, max_size=4), token=st.none() | st.just("to/ken+="))
def test_many_requests_that_are_alike_are_signed_as_each_by_itself(keys: list[str], token: str | None) -> None:
    credentials = Credentials("AKID", "sec/ret", token)
    at = address.address("bucket", endpoint_url="http://s3.example:80", region="eu-west-3", addressing="path")
    urls = [at.url(key, ()) for key in keys]
    shared = {"if-none-match": "*", "x-amz-storage-class": "STANDARD_IA"}
    alike = Signer().alike(
        credentials, method="PUT", url=urls[0], headers=shared, varying="x-amz-checksum-crc64nvme",
        payload=UNSIGNED_PAYLOAD, region="eu-west-3", now=NOW,
    )  # fmt: skip
    for number, url in enumerate(urls):
        own = f"AAAA{number}="
        authorization = alike.authorize(urlsplit(url).path, own)
        assert {**alike.sent, "x-amz-checksum-crc64nvme": own, "Authorization": authorization} == Signer().sign(
            credentials, method="PUT", url=url, headers={**shared, "x-amz-checksum-crc64nvme": own},
            payload=UNSIGNED_PAYLOAD, region="eu-west-3", now=NOW,
        )  # fmt: skip
