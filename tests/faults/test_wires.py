"""The faults of a range, over http and TLS: by the compiled core and by the wire in Python, which must not differ."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from msgspec.structs import replace

from bentosync.errors import BentoMLException, IntegrityError, NetworkError, RemoteError
from bentosync.native import receiving
from bentosync.settings import NativeMode
from tests.faults.bench import KEYS, Bench
from tests.servers.faulty.actions import (
    Action,
    Answer,
    Chunked,
    Cut,
    Delay,
    Drip,
    Elsewhere,
    Endless,
    Flip,
    Headers,
    Late,
    Reset,
    Shifted,
    Stall,
    Status,
    Twice,
    Whole,
)
from tests.servers.faulty.server import FaultyS3

MIB = 1 << 20
MODEL = r"model\.bin"
LINES: tuple[tuple[str, NativeMode], ...] = tuple(itertools.product(("https", "http"), ("on", "off")))


@dataclass(frozen=True)
class Secure:
    server: FaultyS3
    authority: Path


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A fault server behind TLS."""
    authority = trustme.CA()
    folder = tmp_path_factory.mktemp("tls")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with FaultyS3(KEYS, tls=context) as server:
        yield Secure(server, folder / "ca.pem")


@pytest.fixture(params=LINES, ids="-".join)
def line(bench: Bench, secure: Secure, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """The bench and its server, over both protocols; on both ways to receive."""
    scheme, bench.native = request.param
    if bench.native == "on" and receiving.openssl_version() is None:
        pytest.skip("no compiled core, or no OpenSSL 3")
    if scheme == "https":
        bench.server, bench.ca_bundle = secure.server, str(secure.authority)
    bench.server.bucket.become(bench.published)
    yield bench
    bench.server.heal()


FAULTS: dict[str, Action] = {
    "the whole object instead of the range": Whole(),
    "200 and the right range": Status(200),
    "no Content-Range": Headers({"Content-Range": None}),
    "Content-Range of another range": Headers({"Content-Range": "bytes 1-8388608/9449529"}),
    "the range next to it": Shifted(4096),
    "a first byte wrong": Flip(0),
    "a byte wrong in the middle": Flip(3 * MIB + 77),
    "503": Answer(503, "SlowDown"),
    "500": Answer(500, "InternalError"),
    "reset at the head": Reset(at=0),
    "reset within a block": Reset(at=MIB + 4567),
    "reset at the edge of a block": Reset(at=2 * MIB),
    "an early end": Cut(at=5 * MIB + 1),
    "an end before the head": Cut(),
    "chunks that break off": Chunked(at=MIB + 5),
}

REPAIRED_BELOW = ("an end before the head", "chunks that break off")
"""A pooled connection that closed, and a framing that another client takes over: the wire asks again by itself."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_the_blocks_it_broke_and_every_byte_arrives(line: Bench, fault: str) -> None:
    line.server.inject("GetObject", FAULTS[fault], key=MODEL)
    trial = line.pull()
    assert trial.retried or fault in REPAIRED_BELOW
    assert trial.finished.refetched_bytes <= MIB


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("a byte wrong in the middle", IntegrityError),
        ("Content-Range of another range", RemoteError),
        ("503", BentoMLException),
        ("reset at the head", NetworkError),
    ],
)
def test_a_fault_that_never_ends_is_an_error_and_nothing_is_published(
    line: Bench, fault: str, error: type[BentoMLException]
) -> None:
    line.server.inject("GetObject", FAULTS[fault], key=MODEL, times=None)
    line.pull(fails=error)


@pytest.mark.parametrize("at", [None, 0, MIB + 100])
def test_a_reply_that_stalls_is_dropped_and_asked_for_again(line: Bench, at: int | None) -> None:
    line.transfer = replace(line.transfer, stall_seconds=0.2)
    line.server.inject("GetObject", Stall(at=at), key=MODEL)
    assert "Nothing moved" in line.pull().retried[0].reason


def test_a_drip_is_no_stall(line: Bench) -> None:
    line.server.inject("GetObject", Drip(700_000, 0.01), key=MODEL)
    assert not line.pull().retried


def test_a_third_of_the_replies_refused_is_a_pull_that_takes_longer(line: Bench) -> None:
    for nth in (1, 3):
        line.server.inject("GetObject", Answer(503, "SlowDown"), key="files/", nth=nth)
    assert line.pull().retried


def test_a_slow_reply_loses_to_its_double_and_its_bytes_change_nothing(line: Bench) -> None:
    line.server.inject("GetObject", Delay(1.0), key=MODEL, where=lambda call: "bytes=0-" in call.headers["range"])
    line.server.inject("GetObject", Drip(200_000, 0.02), key=MODEL, nth=2)
    line.pull()


def test_a_reply_that_goes_on_beyond_its_end_is_taken_and_its_connection_dropped(line: Bench) -> None:
    line.server.inject("GetObject", Endless(), key=MODEL)
    line.pull()


@pytest.mark.parametrize("twice", [Twice(), Late()])
def test_a_reply_that_comes_twice_is_never_taken_for_that_of_the_next_request(line: Bench, twice: Twice) -> None:
    line.transfer = replace(line.transfer, jobs=1)
    line.server.inject("GetObject", twice, key=MODEL)
    line.pull("small")


def test_bytes_of_another_object_are_caught_by_their_digests(line: Bench) -> None:
    key = next(key for key in line.server.bucket.objects if "odd/" in key)
    line.server.inject("GetObject", Elsewhere(key), key=MODEL, times=None)
    line.pull(fails=BentoMLException)


@pytest.mark.parametrize("verify", ["auto", "strong"])
def test_leaves_are_proven_too_where_that_is_asked_for(line: Bench, verify: str) -> None:
    line.server.inject(
        "GetObject", Flip(8 * MIB - 1), key=MODEL, where=lambda call: "bytes=0-" in call.headers["range"]
    )
    trial = line.pull(verify=verify)  # type: ignore[arg-type]
    assert trial.finished.refetched_bytes == (8 * MIB if verify == "strong" else MIB)
