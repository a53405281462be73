"""N: networks that cut, stall, drip, lie about names and get in between."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from msgspec.structs import replace

from bentosync.errors import NetworkError
from tests.faults.bench import KEYS, LARGE, Bench
from tests.servers.faulty.actions import (
    Chunked,
    Cut,
    Drip,
    Late,
    Reset,
    ResetRequest,
    Says,
    Stall,
    StopReading,
    Twice,
)
from tests.servers.faulty.server import FaultyS3

MIB = 1 << 20
CLASSES = [None, 0, 1, MIB - 1, MIB, 5 * MIB + 17, 8 * MIB - 1]
"""Before the head, and the first, second, a block's last and first, a middle, and the range's last byte."""


@pytest.mark.parametrize("end", [Reset, Cut])
@pytest.mark.parametrize("at", CLASSES)
def test_a_range_cut_anywhere_goes_on_behind_the_proven_blocks(bench: Bench, end: type[Cut], at: int | None) -> None:
    bench.server.inject("GetObject", end(at=at), key=r"model\.bin")
    trial = bench.pull()
    assert trial.retried or at is None  # a pooled connection that closes without a word costs no try
    lost = (at or 0) % MIB
    assert trial.finished.refetched_bytes <= lost
    assert trial.sent_bytes["GetObject"] <= 1.2 * trial.finished.total_bytes + 8 * MIB  # the server counts what it cut


def test_a_range_that_is_cut_after_every_block_still_arrives_because_each_cut_is_progress(bench: Bench) -> None:
    rule = bench.server.inject("GetObject", Reset(at=MIB), key=r"model\.bin", times=None)
    trial = bench.pull()
    assert rule.fired >= 9
    assert trial.finished.refetched_bytes == 0


def test_a_range_that_never_gets_anywhere_gives_up_and_what_was_proven_is_not_fetched_again(bench: Bench) -> None:
    bench.server.inject("GetObject", Reset(at=1000), key=r"model\.bin", nth=2, times=None)
    trial = bench.pull(fails=NetworkError, match=r"127\.0\.0\.1")
    assert trial.requests["GetObject"] < 20
    assert len(trial.retried) >= 7


@pytest.mark.parametrize("key", [r"small/latest$", r"small/v1\.jsonl$"])
@pytest.mark.parametrize("at", [None, 0, 40])
def test_a_pointer_or_manifest_that_breaks_off_is_read_again(bench: Bench, key: str, at: int | None) -> None:
    bench.server.inject("GetObject", Cut(at=at), key=key)
    assert bench.pull("small").retried or at is None


@pytest.mark.parametrize("operation", ["PutObject", "UploadPart", "CompleteMultipartUpload", "CreateMultipartUpload"])
@pytest.mark.parametrize("at", [0, 1, 300_000])
def test_a_request_cut_while_it_is_sent_is_sent_again(fresh: Bench, operation: str, at: int) -> None:
    key = r"weights|large\.bin" if operation != "PutObject" else ""
    fresh.server.inject(operation, ResetRequest(at=at), key=key)
    trial = fresh.push(LARGE)
    assert trial.retried or trial.requests[operation] > 1  # aiohttp repeats a PUT on a connection it had pooled


@pytest.mark.parametrize("at", [0, MIB, 3 * MIB + 5])
def test_a_chunked_body_that_ends_without_its_last_chunk_is_a_short_read(bench: Bench, at: int) -> None:
    # The direct wire hands a chunked reply over to the full client, which asks again: two workers, two tries each.
    bench.server.inject("GetObject", Chunked(at=at), key=r"model\.bin", times=4)
    assert bench.pull().retried


def test_chunked_ranges_are_as_good_as_any_because_the_manifest_says_how_long_they_are(bench: Bench) -> None:
    bench.server.inject("GetObject", Chunked(), key=r"model\.bin", times=None)
    bench.pull()


@pytest.mark.parametrize("at", [None, 0, MIB + 100])
def test_a_reply_that_stalls_is_dropped_after_the_stall_time_and_asked_for_again(bench: Bench, at: int | None) -> None:
    bench.transfer = replace(bench.transfer, stall_seconds=0.2)
    bench.server.inject("GetObject", Stall(at=at), key=r"model\.bin")
    assert "Nothing moved" in bench.pull().retried[0].reason


def test_a_store_that_stops_reading_is_noticed(fresh: Bench) -> None:
    fresh.transfer = replace(fresh.transfer, stall_seconds=0.3)
    fresh.server.inject("UploadPart", StopReading(at=MIB), part=1)
    assert "Nothing moved" in fresh.push(LARGE).retried[0].reason


def test_a_port_that_never_accepts_is_given_up_after_the_connect_time(bench: Bench) -> None:
    bench.transfer = replace(bench.transfer, connect_seconds=0.1, attempts=2)
    with deaf() as url:
        bench.endpoint_url = url
        bench.pull(fails=NetworkError, match="took too long", stays=False)
    bench.endpoint_url = None
    bench.pull()


def test_a_slow_drip_arrives(bench: Bench) -> None:
    bench.server.inject("GetObject", Drip(300_000, 0.01), key=r"model\.bin")
    assert not bench.pull().retried


def test_a_name_that_nobody_knows_is_an_error_that_names_it(bench: Bench) -> None:
    bench.endpoint_url = "http://no-such-host.invalid"
    bench.transfer = replace(bench.transfer, attempts=2)
    bench.pull(fails=NetworkError, match=r"no-such-host\.invalid cannot be resolved", stays=False)


# --- TLS --------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def secure(bench: Bench, folder: Path, kind: str) -> Iterator[None]:
    """The bench's server behind TLS, whose certificate is right or wrong in one way."""
    authority, stranger = trustme.CA(), trustme.CA()
    expired = datetime.now(UTC) - timedelta(days=1)
    host = "elsewhere.example" if kind == "wrong host" else "localhost"
    issuer = stranger if kind == "self-signed" else authority
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(host, not_after=expired if kind == "expired" else None).configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    if kind == "TLS 1.0 only":
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("ALL:@SECLEVEL=0")
    with FaultyS3(KEYS, tls=context) as server:
        server.bucket.become(bench.published)
        plain, bench.server = bench.server, server
        bench.ca_bundle = str(folder / "ca.pem")
        yield
        bench.server = plain


@pytest.mark.parametrize("kind", ["expired", "wrong host", "self-signed"])
def test_a_certificate_that_is_not_good_is_refused_at_once(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    with secure(bench, tmp_path_factory.mktemp("tls"), kind):
        trial = bench.pull(fails=NetworkError, match="not trusted", stays=False)
    assert not trial.retried
    assert not trial.requests


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated")
def test_an_old_tls_is_refused_and_nothing_falls_back_to_plain_text(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bench.transfer = replace(bench.transfer, attempts=2)
    with secure(bench, tmp_path_factory.mktemp("tls"), "TLS 1.0 only"):
        assert not bench.pull(fails=NetworkError, stays=False).requests


def test_the_authority_named_by_ca_bundle_is_trusted(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    with secure(bench, tmp_path_factory.mktemp("tls"), "good"):
        bench.server.inject("GetObject", Reset(at=MIB), key=r"model\.bin")
        assert bench.pull().retried


def test_a_handshake_that_is_cut_is_a_network_error(bench: Bench) -> None:
    bench.endpoint_url = bench.server.url.replace("http:", "https:")
    bench.transfer = replace(bench.transfer, attempts=2, connect_seconds=0.5)  # the server waits for the rest of a line
    assert bench.pull(fails=NetworkError, stays=False).retried


# --- proxies ----------------------------------------------------------------------------------------------------------


def test_a_proxy_from_the_environment_is_used(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is its own proxy: it looks at path and query only."""
    monkeypatch.setenv("http_proxy", bench.server.url)
    bench.endpoint_url = bench.server.url.replace("127.0.0.1", "localhost")
    bench.pull()
    assert all(call.target.startswith("http://localhost:") for call in bench.server.calls)


def test_a_proxy_that_wants_a_password_or_is_gone_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.transfer = replace(bench.transfer, attempts=2)
    bench.server.inject("*", Says(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"))
    monkeypatch.setenv("http_proxy", bench.server.url)
    bench.pull(fails=NetworkError, match="407", stays=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://user:canary-other-token@127.0.0.1:{unused.getsockname()[1]}")
        bench.pull(fails=NetworkError, match="annot connect", stays=False)


# --- keep-alive -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("twice", [Twice(), Late()])
@pytest.mark.parametrize("key", [r"small/latest$", r"v1\.jsonl$", r"model\.bin", "odd/"])
def test_a_reply_that_comes_twice_is_never_taken_for_that_of_the_next_request(
    bench: Bench, twice: Twice, key: str
) -> None:
    bench.transfer = replace(bench.transfer, jobs=1)
    bench.server.inject("GetObject", twice, key=key)
    bench.pull("small")


@pytest.mark.parametrize("twice", [Twice(), Late()])
@pytest.mark.parametrize(
    "operation", ["PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "ListObjectsV2"]
)
def test_a_push_survives_a_reply_that_comes_twice(fresh: Bench, twice: Twice, operation: str) -> None:
    fresh.server.inject(operation, twice)
    fresh.push(LARGE)


def test_a_connection_that_the_store_closed_while_it_was_idle_costs_nothing(bench: Bench) -> None:
    bench.transfer = replace(bench.transfer, jobs=1)
    bench.server.inject("GetObject", Quietly(), times=None)
    assert not bench.pull().retried


class Quietly(Cut):
    """Replies in full, promises to keep the connection, and closes it."""

    def __init__(self) -> None:
        super().__init__(at=1 << 40)


@contextlib.contextmanager
def deaf() -> Iterator[str]:
    """A port whose queue is full: connections are neither accepted nor refused."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = waiting.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
