"""A fault server with versions of `m` on it, and an empty store beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bentosync import aio
from bentosync.blocking import new_loop
from bentosync.store.store import Store
from tests.faults.bench import KEYS, quiet, settings
from tests.faults.conftest import configure
from tests.loader.distant import FILES, WEIGHTS, Distance, write_version
from tests.servers.faulty.objects import Bucket
from tests.servers.faulty.server import FaultyS3


@pytest.fixture(scope="session")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FaultyS3, Bucket, Path]]:
    """The server, what is on it, and the home it was published from."""
    publisher = tmp_path_factory.mktemp("far")
    store = Store(publisher)
    with store.create("m:v1") as model:
        write_version(Path(model.path), WEIGHTS, FILES)
    published = Bucket()
    with pytest.MonkeyPatch.context() as patch, FaultyS3(KEYS) as server:
        configure(patch)
        asyncio.run(aio.push("m:v1", settings=settings(publisher, server.url)))
        published.become(server.bucket)
        yield server, published, publisher


@pytest.fixture
def distance(far: tuple[FaultyS3, Bucket, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distance]:
    """`m:v1` is on the server, the store at `home` does not exist yet."""
    server, published, publisher = far
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # OpenMP's threads do not survive the fork of a test that forks
    new_loop().close()  # libuv keeps a pipe of its own from the first loop on
    configure(monkeypatch)
    quiet()
    server.bucket.become(published)
    server.forget()
    yield Distance(server, publisher, tmp_path / "home")
    server.keys = KEYS
    server.heal()
    torch.set_num_threads(threads)
