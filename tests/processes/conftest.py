from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bentosync import aio
from bentosync.cli.synthetic import write_model
from bentosync.settings import RemoteSettings, Settings
from bentosync.store.store import Store
from tests.processes import sandbox
from tests.processes.sandbox import Sandbox, Volume
from tests.servers.faulty.objects import Bucket
from tests.servers.faulty.server import FaultyS3
from tests.servers.faulty.signature import Keys

MIB = 1 << 20
UID = 1_000_660_000
"""As OpenShift gives them: no user has it."""


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder remote that everybody may read, with `m:v1` (3 MiB) and `m:v2`."""
    root = tmp_path_factory.mktemp("published")
    remote = RemoteSettings((root / "remote").as_uri(), name="r")
    settings = Settings(home=root / "home", remotes={"r": remote})
    for version in ("v1", "v2"):
        with Store(settings.home).create(f"m:{version}") as model:
            write_model(Path(model.path), size_bytes=3 * MIB, shards=2, seed=int(version[1]))
        asyncio.run(aio.push(f"m:{version}", settings=settings))
    return root / "remote"


Boxed = Callable[..., Sandbox]


@pytest.fixture
def boxed(tmp_path: Path, published: Path) -> Iterator[Boxed]:
    """Make a sandbox with the remote at `/remote` and volumes at the places named, each a folder of this test."""
    sandbox.required()
    numbers = itertools.count()

    def make(*volumes: Volume, environment: dict[str, str] | None = None, **how: object) -> Sandbox:
        root = tmp_path / f"root-{next(numbers)}"
        root.mkdir()
        around = {"BENTOML_HOME": "/bentoml", "BENTOSYNC_REMOTE": "file:///remote"} | (environment or {})
        remote = Volume(published, "/remote", read_only=True)
        return Sandbox(root, volumes=[remote, *volumes], environment=around, **how)  # type: ignore[arg-type]

    yield make


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder for a store, which belongs to the user of the sandboxes."""
    home = tmp_path / "bentoml"
    home.mkdir()
    if os.geteuid() == 0:
        os.chown(home, UID, UID)
    return home


KEYS = Keys("AKIDCANARYACCESS", "canary/secret+key", tokens=frozenset({"canary-session-token"}))
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": KEYS.access_key,
    "AWS_SECRET_ACCESS_KEY": KEYS.secret_key,
    "AWS_SESSION_TOKEN": "canary-session-token",
    "AWS_REGION": KEYS.region,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def bucket(published: Path) -> Iterator[FaultyS3]:
    """The same remote in the bucket of a fault server, which checks signatures."""
    with FaultyS3(KEYS) as server:
        for path in published.rglob("*"):
            if path.is_file() and not path.is_relative_to(published / ".bentosync-uploads"):
                server.bucket.put(path.relative_to(published).as_posix(), path.read_bytes())
        yield server


@pytest.fixture
def s3(bucket: FaultyS3) -> Iterator[FaultyS3]:
    """The server without faults, and its objects as they were."""
    before = Bucket()
    before.become(bucket.bucket)
    yield bucket
    bucket.heal()
    bucket.bucket.become(before)
