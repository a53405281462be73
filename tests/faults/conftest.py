"""One server and one publisher a session; their states are put back before each test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bentosync import aio
from bentosync.store.store import Store
from bentosync.tag import Tag
from tests import oracle
from tests.blocks import content
from tests.faults.bench import KEYS, LARGE, OTHER, SMALL, Bench, quiet, settings
from tests.servers.faulty.objects import Bucket
from tests.servers.faulty.server import FaultyS3

MIB = 1 << 20
ODD = "odd/+ % # space é 'x'.bin"
MODELS: Mapping[Tag, Mapping[str, bytes]] = {
    OTHER: {"weights.bin": content(9, 70_000)},
    SMALL: {"model.bin": content(1, 9 * MIB + 12_345), ODD: content(2, MIB + 7), "note.txt": b"note", "empty": b""},
    LARGE: {"large.bin": content(3, 17 * MIB + 3)},
}


@dataclass(frozen=True)
class Stage:
    """What does not change from test to test."""

    publisher: Path
    server: FaultyS3
    empty: Bucket = field(default_factory=Bucket)
    published: Bucket = field(default_factory=Bucket)
    large: Bucket = field(default_factory=Bucket)


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    publisher = tmp_path_factory.mktemp("publisher")
    store = Store(publisher)
    for tag, files in MODELS.items():
        with store.create(tag) as model:
            for path, data in files.items():
                target = Path(model.path, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
    before = oracle.look({"publisher": publisher}, {})
    with FaultyS3(KEYS) as server:
        stage = Stage(publisher, server)
        with pytest.MonkeyPatch.context() as patch:
            configure(patch)
            for tag, state in ((OTHER, stage.empty), (SMALL, stage.published), (LARGE, stage.large)):
                asyncio.run(aio.push(tag, settings=settings(publisher, server.url)))
                state.become(server.bucket)
        yield stage
    assert oracle.look({"publisher": publisher}, {}) == before


def configure(patch: pytest.MonkeyPatch) -> None:
    """Canary credentials, and nothing of this machine's own."""
    for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
        patch.delenv(name)
    patch.setenv("AWS_ACCESS_KEY_ID", KEYS.access_key)
    patch.setenv("AWS_SECRET_ACCESS_KEY", KEYS.secret_key)
    patch.setenv("AWS_SESSION_TOKEN", "canary-session-token")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_CONFIG_FILE", os.devnull)
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture
def bench(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Bench]:
    """`small:v1` and `other:v0` are on the server, the consumer's store is empty."""
    configure(monkeypatch)
    quiet()
    caplog.set_level("DEBUG", "bentosync")
    server = stage.server
    server.bucket.become(stage.published)
    yield Bench(tmp_path, stage.publisher, server, stage.empty, stage.published, stage.large, caplog)
    server.keys = KEYS
    server.page = 1000
    server.heal()


@pytest.fixture
def fresh(bench: Bench) -> Bench:
    """Only `other:v0` is on the server."""
    bench.server.bucket.become(bench.empty)
    return bench
