"""Every remote, bare and under the decorators that `open_remote` puts around it, keeps the contract."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from bentosync.remote.contract import Remote
from bentosync.remote.directory import DirectoryRemote
from bentosync.remote.open import open_remote
from bentosync.remote.s3.address import parse_bucket
from bentosync.remote.s3.client import Client
from bentosync.remote.s3.probe import Probe
from bentosync.remote.s3.s3 import S3Remote
from bentosync.remote.s3.terms import Terms
from bentosync.settings import RemoteSettings, TransferSettings
from bentosync.wire.pooled import PooledWire
from tests.remote.conformance import Place, RemoteConformance
from tests.servers.s3 import S3Server

TRANSFER = TransferSettings(jobs=8, attempts=3, retry_base_seconds=0.01)


def bare_s3(settings: RemoteSettings) -> Remote:
    """The S3 remote without decorators."""
    bucket = parse_bucket(settings.url)
    wire = PooledWire(TRANSFER)
    return S3Remote(bucket, Client(settings, wire, bucket=bucket.name), wire, Probe(None), Terms(settings))


def composed(settings: RemoteSettings, folder: Path) -> Callable[[], Remote]:
    return lambda: open_remote(settings, TRANSFER, cache_dir=folder / "cache")


@pytest.fixture(params=["directory", "directory-composed", "seaweedfs", "seaweedfs-composed", "moto"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place for objects."""
    kind, _, decorated = request.param.partition("-")
    if kind == "directory":
        root = tmp_path / "remote"
        settings = RemoteSettings(root.as_uri())
        return Place(composed(settings, tmp_path) if decorated else lambda: DirectoryRemote(root))
    server: S3Server = request.getfixturevalue({"seaweedfs": "seaweed_credentials", "moto": "moto_credentials"}[kind])
    url = f"s3://{server.bucket}/{secrets.token_hex(6)}"
    settings = RemoteSettings(url, endpoint_url=server.endpoint_url)
    connect = composed(settings, tmp_path) if decorated else lambda: bare_s3(settings)
    return Place(connect, strict=kind == "seaweedfs", batches=bool(decorated))


class TestRemotes(RemoteConformance):
    """The whole suite, five times: the decorators are the same over moto."""
