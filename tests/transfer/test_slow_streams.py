"""Streams that drip, over real sockets: who is helped, doubled or given up may go on sending, and changes no byte."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from bentosync.errors import NetworkError
from bentosync.formats.digester import FileDigester
from bentosync.manifest import build
from bentosync.manifest.values import BLOCK_BYTES, Manifest
from bentosync.native import receiving
from bentosync.remote.contract import Remote
from bentosync.remote.open import open_remote
from bentosync.settings import NativeMode, RemoteSettings, TransferSettings
from bentosync.store.partial import Partial
from bentosync.transfer.download import Tally, Target, download
from bentosync.transfer.hedge import Patience
from tests.blocks import content
from tests.servers.faulty.actions import Action, Line
from tests.servers.faulty.call import Call, Reply
from tests.servers.faulty.server import BUCKET, FaultyS3
from tests.servers.faulty.signature import Keys

KEYS = Keys("AKIDSLOW", "slow/secret")
SIZE = 44 * BLOCK_BYTES + 4321
DATA = content(7, SIZE)
HASTY = Patience(young_seconds=0.1, quiet_seconds=1.0, slow_seconds=0.3, stuck_seconds=0.2, setup_seconds=0.02)
AFTERWARDS_SECONDS = 1.0


@dataclass(frozen=True)
class Stubborn(Action):
    """Drips, and when the client has closed its end goes on with it for another second."""

    step: int = 16 << 10
    pause_seconds: float = 0.05
    ended: list[float] = field(default_factory=list)

    async def deliver(self, line: Line, call: Call, reply: Reply) -> None:
        await line.send(reply.head())
        position, until = 0, float("inf")
        while position < len(reply.body) and time.monotonic() < until:
            try:
                line.writer.write(bytes(reply.body[position : position + self.step]))
                await asyncio.sleep(self.pause_seconds)
            finally:
                position += self.step
            if line.reader.at_eof() or line.writer.is_closing():
                until = min(until, time.monotonic() + AFTERWARDS_SECONDS)
        self.ended.append(time.monotonic())


@dataclass(frozen=True)
class Place:
    """A fault server and how to reach it."""

    server: FaultyS3
    ca_bundle: str | None
    native: NativeMode

    def remote(self) -> Remote:
        settings = RemoteSettings(
            f"s3://{BUCKET}/p", endpoint_url=self.server.url, region=KEYS.region, ca_bundle=self.ca_bundle
        )
        return open_remote(settings, TransferSettings(retry_base_seconds=0.001), native=self.native)

    async def store(self) -> None:
        remote = self.remote()
        await remote.write("f/a.bin", DATA)
        await remote.aclose()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    authority = trustme.CA()
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return authority, path


@pytest.fixture(params=["http", "https", "https, compiled"])
def place(
    request: pytest.FixtureRequest, authority: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """Every way to receive."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS.secret_key)
    if request.param == "http":
        tls, ca_bundle = None, None
    else:
        tls, ca_bundle = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), str(authority[1])
        authority[0].issue_cert("localhost").configure_cert(tls)
    native: NativeMode = "on" if request.param.endswith("compiled") else "off"
    if native == "on" and receiving.openssl_version("on") is None:
        pytest.skip("no compiled core, or no OpenSSL 3")
    with FaultyS3(KEYS, tls=tls) as server:
        place = Place(server, ca_bundle, native)
        asyncio.run(place.store())
        yield place


def described() -> Manifest:
    digester = FileDigester("a.bin", SIZE, False)
    digester.update(DATA)
    yaml = FileDigester("model.yaml", 1, False)
    yaml.update(b"x")
    return build.compose(
        name="m", version="v1", created="2026-11-22T10:00:00+00:00", module="", labels={},
        files=[digester.finish(), yaml.finish()], directories=[], read=lambda path: b"x",
    )  # fmt: skip


async def fetched(place: Place, root: Path, *, patience: Patience = HASTY, jobs: int = 3) -> tuple[bytes, Tally]:
    remote = place.remote()
    partial = Partial(root, described())
    tally = Tally(lambda entry, count: None)
    try:
        partial.prepare(b"document", strong=False)
        await download(
            remote, [Target(f"f/{file.entry.path}", file) for file in partial.files], jobs=jobs,
            memory_bytes=1 << 27, range_bytes=8 << 20, strong=False, tally=tally, patience=patience,
        )  # fmt: skip
        return (partial.finish() / "a.bin").read_bytes(), tally
    finally:
        partial.close()
        await remote.aclose()


async def outlived(action: Stubborn) -> None:
    """Wait until the loser has sent what it had left to send."""
    async with asyncio.timeout(10):
        while not action.ended:
            await asyncio.sleep(0.05)


async def test_the_loser_of_a_hedge_keeps_sending_and_the_bytes_stay_equal(place: Place, tmp_path: Path) -> None:
    last = Stubborn()
    place.server.inject("GetObject", last, where=lambda call: f"-{SIZE - 1}" in call.headers.get("range", ""))
    data, tally = await fetched(place, tmp_path / "partial")
    await outlived(last)
    assert data == DATA
    if place.native == "on":
        # The core works on 8 MiB at a time, more than may be fetched twice of so small a file.
        assert tally.meter.restarts > 0
    else:
        assert tally.meter.hedges > 0
    assert tally.meter.hedged_bytes <= SIZE * 0.05
    assert next((tmp_path / "partial").glob("tree-*/a.bin")).read_bytes() == DATA


async def test_a_stream_given_up_in_the_middle_keeps_sending_while_its_buffer_serves_others(
    place: Place, tmp_path: Path
) -> None:
    slow = Stubborn()
    place.server.inject("GetObject", slow, nth=2)
    place.server.inject("GetObject", Stubborn(step=1 << 19, pause_seconds=0.02), nth=2, times=4)
    data, tally = await fetched(place, tmp_path / "partial", jobs=2)
    await outlived(slow)
    assert data == DATA
    assert tally.meter.restarts > 0
    assert tally.received - tally.dropped == SIZE
    assert tally.dropped <= SIZE * 0.2


async def test_a_drip_without_end_is_given_up_with_a_network_error(place: Place, tmp_path: Path) -> None:
    place.server.inject("GetObject", Stubborn(step=1, pause_seconds=0.02), times=None)
    hasty = Patience(drip_seconds=0.2, drip_bytes_per_second=4096)
    with pytest.raises(NetworkError, match="gets stuck or drips"):
        await fetched(place, tmp_path / "partial", patience=hasty, jobs=1)
