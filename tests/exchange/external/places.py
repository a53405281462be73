"""Every kind of storage that can run here, as one value: its URLs, and what is really stored on its server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.cloud import Cloud
from tests.servers.dropbox import dropbox
from tests.servers.ftp import Ftp, ftp
from tests.servers.gcs import gcs
from tests.servers.s3 import S3Server
from tests.servers.sftp import sftp
from tests.servers.webdav import webdav

WRITABLE = ("s3", "gs", "dropbox", "ftp", "sftp", "webdav")


@dataclass
class Place:
    """`url` makes a URL of a path, `wrong` one with a wrong password; `stored` is what the server has, by path."""

    url: Callable[[str], str]
    wrong: Callable[[str], str]
    stored: Callable[[], dict[str, bytes]]
    cloud: Cloud | None = None
    ftp: Ftp | None = None


@contextlib.contextmanager
def place(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A running server of that kind, empty (S3's is shared, and emptied of nothing)."""
    if name == "s3":
        yield _s3(request.getfixturevalue("seaweed_credentials"), folder, monkeypatch)
    elif name == "gs":
        with gcs() as cloud:
            yield _cloud(cloud, "gs://bench/", f"?endpoint_url=http://127.0.0.1:{cloud.port}&token=")
    elif name == "dropbox":
        with dropbox(folder) as cloud:
            host = f"127.0.0.1:{cloud.port}"
            monkeypatch.setattr("dropbox.dropbox_client.API_HOST", host)
            monkeypatch.setattr("dropbox.dropbox_client.API_CONTENT_HOST", host)
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cloud.authority))
            yield _cloud(cloud, "dropbox:///", "?access_token=")
    else:
        root = folder / "served"
        root.mkdir()
        yield from _files(name, root, folder)


def _files(name: str, root: Path, folder: Path) -> Iterator[Place]:
    def stored() -> dict[str, bytes]:
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def place(port: int, options: str = "", server: Ftp | None = None) -> Place:
        return Place(
            lambda path: f"{name}://me:hush@127.0.0.1:{port}/{path}{options}",
            lambda path: f"{name}://me:swordfish@127.0.0.1:{port}/{path}{options}",
            stored, ftp=server,
        )  # fmt: skip

    if name == "ftp":
        with ftp(root) as running:
            yield place(running.port, server=running)
    elif name == "sftp":
        with sftp(root, folder / "known_hosts") as port:
            yield place(port, f"?known_hosts={folder}/known_hosts")
    else:
        with webdav(root) as port:
            yield place(port)


def _cloud(cloud: Cloud, start: str, option: str) -> Place:
    def stored() -> dict[str, bytes]:
        return {path.removeprefix("bench/").lstrip("/"): data for path, data in cloud.files.items()}

    return Place(
        lambda path: f"{start}{path}{option}{cloud.token}",
        lambda path: f"{start}{path}{option}swordfish",
        stored,
        cloud,
    )


def _s3(server: S3Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    from bentosync.blocking import wait
    from bentosync.remote.open import open_remote
    from bentosync.settings import RemoteSettings, TransferSettings

    # Each test has a part of the bucket of its own.
    mine = f"s3://{server.bucket}/{folder.name}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint_url)

    async def contents() -> dict[str, bytes]:
        remote = open_remote(RemoteSettings(mine, endpoint_url=server.endpoint_url), TransferSettings())
        try:
            found = [stat.key async for stat in remote.list("")]
            return {key: (await remote.read(key, bytes_max=1 << 30)).data for key in found}
        finally:
            await remote.aclose()

    return Place(
        lambda path: f"{mine}/{path}",
        lambda path: f"s3://{server.access_key}:swordfish@{server.bucket}/{folder.name}/{path}",
        lambda: wait(contents()),
    )
