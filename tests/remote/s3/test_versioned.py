"""S18: a bucket that keeps old versions and delete markers is used like any other."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import secrets
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bentosync import aio
from bentosync.settings import RemoteSettings, Settings
from bentosync.store.store import Store
from tests.blocks import content
from tests.servers.s3 import S3Server

NAMESPACE = b"http://s3.amazonaws.com/doc/2006-03-01/"
ENABLED = b'<VersioningConfiguration xmlns="%s"><Status>Enabled</Status></VersioningConfiguration>' % NAMESPACE


def put(store: S3Server, target: str, body: bytes = b"") -> None:
    """A request about a bucket, signed by botocore."""
    signed = AWSRequest("PUT", f"{store.endpoint_url}{target}", data=body)
    S3SigV4Auth(Credentials(store.access_key, store.secret_key), "s3", "us-east-1").add_auth(signed)
    connection = http.client.HTTPConnection(store.endpoint_url.removeprefix("http://"), timeout=10)
    with contextlib.closing(connection):
        connection.request("PUT", target, body=body, headers=dict(signed.headers))
        assert connection.getresponse().status == 200


def create(home: Path, seed: int) -> None:
    with Store(home).create("m:v1") as model:
        Path(model.path, "w.bin").write_bytes(content(seed, 100_000))


@pytest.mark.parametrize("kind", ["seaweed_credentials", "moto_credentials"])
def test_a_version_is_pushed_deleted_pushed_again_and_replaced(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store: S3Server = request.getfixturevalue(kind)
    name = f"versioned-{secrets.token_hex(4)}"
    put(store, f"/{name}")
    put(store, f"/{name}?versioning=", ENABLED)
    remote = RemoteSettings(f"s3://{name}/p", endpoint_url=store.endpoint_url)

    def settings(home: str) -> Settings:
        return Settings(home=tmp_path / home, remotes={"r": remote})

    async def lives() -> None:
        create(tmp_path / "one", 1)
        await aio.push("m:v1", settings=settings("one"))
        await aio.delete_remote("m:v1", settings=settings("one"))
        assert await aio.list_remote(settings=settings("one")) == []
        assert (await aio.push("m:v1", settings=settings("one"))).moved_bytes > 100_000
        create(tmp_path / "two", 2)
        await aio.push("m:v1", force=True, settings=settings("two"))
        pulled = await aio.pull("m", settings=settings("three"))
        assert Path(pulled.path, "w.bin").read_bytes() == content(2, 100_000)

    asyncio.run(lives())
