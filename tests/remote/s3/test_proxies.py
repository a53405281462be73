"""HTTPS_PROXY and NO_PROXY hold for control calls and for the bytes of models alike."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from msgspec.structs import replace

from bentosync import aio
from bentosync.errors import NetworkError
from bentosync.settings import RemoteSettings, Settings, TransferSettings
from bentosync.store.store import Store
from tests.blocks import content
from tests.servers.faulty.server import BUCKET, FaultyS3
from tests.servers.faulty.signature import Keys
from tests.servers.s3 import S3Server
from tests.servers.tunnel import Tunnels, tunnel

KEYS = Keys("AKIDPROXY", "proxy/secret+key")
HOST = "models.example"
SIZE = 17 << 20


@dataclass(frozen=True)
class World:
    """A store behind TLS under a name that only the proxy can reach."""

    server: FaultyS3
    proxy: Tunnels
    folder: Path

    def settings(self, home: str) -> Settings:
        remote = RemoteSettings(
            f"s3://{BUCKET}/p",
            endpoint_url=f"https://{HOST}",
            region="us-east-1",
            ca_bundle=str(self.folder / "ca.pem"),
        )
        return Settings(home=self.folder / home, remotes={"r": remote}, transfer=TransferSettings(attempts=2))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in S3Server("", access_key=KEYS.access_key, secret_key=KEYS.secret_key).environment.items():
        monkeypatch.setenv(name, value)
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    with FaultyS3(KEYS, tls=context) as server, tunnel(server.port) as proxy:
        yield World(server, proxy, tmp_path)


def test_every_byte_of_a_push_and_a_pull_goes_through_the_proxy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://ann:s%20x@127.0.0.1:{world.proxy.port}")
    with Store(world.folder / "publisher").create("m:v1") as model:
        Path(model.path, "large.bin").write_bytes(content(1, SIZE))
    asyncio.run(aio.push("m:v1", settings=world.settings("publisher")))
    asyncio.run(aio.pull("m:v1", settings=world.settings("consumer")))
    proxy, server = world.proxy, world.server
    assert min(proxy.up, proxy.down) > SIZE
    assert len(proxy.heads) == server.connections
    assert all(head.startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\n") for head in proxy.heads)
    assert all("Basic YW5uOnMgeA==" in head for head in proxy.heads)
    assert not [call for call in server.calls if "proxy-authorization" in call.headers]


def test_the_authorities_that_aws_tools_trust_are_trusted_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{world.proxy.port}")
    bare = world.settings("consumer")
    bare = replace(bare, remotes={"r": replace(bare.remotes["r"], ca_bundle=None)})
    with pytest.raises(NetworkError, match="not trusted"):
        asyncio.run(aio.list_remote(settings=bare))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(world.folder / "ca.pem"))
    assert asyncio.run(aio.list_remote(settings=bare)) == []


def test_a_host_named_by_no_proxy_is_asked_directly(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{world.proxy.port}")
    monkeypatch.setenv("NO_PROXY", "localhost,.example")
    with pytest.raises(NetworkError, match=HOST):  # which nobody but the proxy can reach
        asyncio.run(aio.pull("m:v1", settings=world.settings("consumer")))
    assert not world.proxy.heads
