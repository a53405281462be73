"""The limit of the rate through whole remotes, both ways. How exact it is: tests/wire/test_rate, in virtual time.

A transfer can be slower than its limit for many reasons, so these only say that it is not faster.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from bentosync.remote.contract import Remote
from bentosync.remote.open import open_remote
from bentosync.settings import RemoteSettings, TransferSettings
from tests.blocks import content
from tests.remote.conformance import Collector
from tests.servers.faulty.server import BUCKET, FaultyS3
from tests.servers.faulty.signature import Keys

KEYS = Keys("AKIDLIMIT", "limit/secret")
SIZE = 3 << 20
RATE = 8 << 20
LEAST_SECONDS = SIZE / RATE - 0.1  # the bucket's tenth of a second
PIECE_SECONDS = 0.03  # and one piece of every stream

DATA = content(5, SIZE)


@dataclass(frozen=True)
class Place:
    settings: RemoteSettings

    def remote(self, *, limit: int | None) -> Remote:
        return open_remote(self.settings, replace(TransferSettings(), limit_bytes_per_second=limit))


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS.secret_key)
    if request.param == "file":
        yield Place(RemoteSettings(tmp_path.as_uri()))
    else:
        with FaultyS3(KEYS) as server:
            yield Place(RemoteSettings(f"s3://{BUCKET}/p", endpoint_url=server.url, region=KEYS.region))


async def timed(remote: Remote, *, streams: int, read: bool) -> float:
    """Seconds for `DATA`, over so many calls at once."""
    step = SIZE // streams
    sinks = [Collector(step) for _ in range(streams)]
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number, sink in enumerate(sinks):
            if read:
                group.create_task(remote.read_range("k", number * step, step, sink))
            else:
                data = memoryview(DATA)[number * step : (number + 1) * step]
                group.create_task(remote.write(f"k{number}", [data]))
    seconds = time.monotonic() - began
    assert not read or b"".join(bytes(sink.data) for sink in sinks) == DATA
    return seconds


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("read", [True, False])
async def test_no_way_is_faster_than_the_limit_however_many_streams_there_are(
    place: Place, streams: int, read: bool
) -> None:
    free = place.remote(limit=None)
    await free.write("k", DATA)
    await free.aclose()
    remote = place.remote(limit=RATE)
    seconds = await timed(remote, streams=streams, read=read)
    await remote.aclose()
    # The first piece of every way in passes at once.
    ahead = 0.15 if place.settings.url.startswith("file") and read else 0
    assert seconds >= LEAST_SECONDS - streams * PIECE_SECONDS - ahead


@pytest.mark.parametrize(
    ("limit", "jobs", "streams"), [(None, 64, 64), (50 << 20, 64, 50), (50 << 20, 8, 8), (100_000, 64, 1)]
)
def test_a_limit_leaves_every_stream_a_block_a_second(limit: int | None, jobs: int, streams: int) -> None:
    assert TransferSettings(jobs=jobs, limit_bytes_per_second=limit).streams_max == streams
