"""Session fixtures of the real servers. A server that is not there fails under CI=true and is a loud skip elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bentosync.errors import MissingExtra
from tests.servers.s3 import S3Server, moto
from tests.tally import skip_or_fail


@pytest.fixture(scope="session")
def seaweed(seaweedfs_server: S3Server) -> S3Server:
    """SeaweedFS with the bucket `bench`."""
    return seaweedfs_server


@pytest.fixture(scope="session")
def moto_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Moto with the bucket `bench`."""
    try:
        running = moto(tmp_path_factory.mktemp("moto"))
    except MissingExtra as error:
        skip_or_fail(f"{error.message}: {error.hint}")
    with running as server:
        yield server


@pytest.fixture
def seaweed_credentials(seaweed: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """SeaweedFS, with its credentials (and no others) in this process's environment."""
    return _adopt(seaweed, monkeypatch)


@pytest.fixture
def moto_credentials(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """Moto, with its credentials in this process's environment."""
    return _adopt(moto_s3, monkeypatch)


def _adopt(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server
