"""The fault server without faults is an S3: the suite that real servers pass, and signatures by botocore."""

from __future__ import annotations

import http.client
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bentosync.remote.open import open_remote
from bentosync.settings import RemoteSettings, TransferSettings
from tests.remote.conformance import Place, RemoteConformance
from tests.servers.faulty.actions import Answer, Reset
from tests.servers.faulty.server import BUCKET, FaultyS3
from tests.servers.faulty.signature import Keys
from tests.servers.s3 import S3Server

KEYS = Keys("AKIDBENTOSYNCTEST", "test/secret+key")


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    with FaultyS3(KEYS, page=3) as running:
        yield running


@pytest.fixture
def place(server: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in S3Server("").environment.items():
        monkeypatch.setenv(name, value)
    settings = RemoteSettings(f"s3://{BUCKET}/{secrets.token_hex(6)}", endpoint_url=server.url)
    return Place(lambda: open_remote(settings, TransferSettings(jobs=8, attempts=3, retry_base_seconds=0.01)))


class TestWithoutFaults(RemoteConformance):
    """The whole suite, on pages of three."""


def ask(server: FaultyS3, secret: str, path: str = "/bench/a%20b?list-type=2&prefix=a%2Fb") -> int:
    """The status of a GET signed by botocore."""
    request = AWSRequest("GET", f"{server.url}{path}")
    S3SigV4Auth(Credentials(KEYS.access_key, secret), "s3", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=5)
    connection.request("GET", path, headers=dict(request.headers))
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_signature_counts_only_with_the_right_secret(server: FaultyS3) -> None:
    server.bucket.put("a b", b"x")
    assert ask(server, KEYS.secret_key) == 200
    assert ask(server, "another") == 403


def test_a_rule_acts_on_the_calls_it_names_as_often_as_it_says(server: FaultyS3) -> None:
    server.bucket.put("a b", b"x")
    rule = server.inject("GetObject", Answer(503, "SlowDown"), key="^a b$", nth=2, times=2)
    unused = server.inject("PutObject", Reset())
    assert [ask(server, KEYS.secret_key) for _ in range(5)] == [200, 503, 503, 200, 200]
    assert (rule.fired, server.unfired) == (2, [unused])
    server.heal()
    assert ask(server, KEYS.secret_key) == 200
