from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from bentosync.settings import RemoteSettings
from tests.servers.s3 import S3Server
from tests.sync.scene import Scene


@pytest.fixture
def folder(tmp_path: Path) -> Scene:
    """For what does not depend on the kind of remote."""
    return Scene(tmp_path, RemoteSettings(url=(tmp_path / "remote").as_uri()))


@pytest.fixture
def bucket(seaweed_credentials: S3Server, tmp_path: Path) -> Scene:
    """For what only a bucket does."""
    url = f"s3://{seaweed_credentials.bucket}/{uuid.uuid4().hex}"
    return Scene(tmp_path, RemoteSettings(url=url, endpoint_url=seaweed_credentials.endpoint_url))


@pytest.fixture(params=["file", "seaweed"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    if request.param == "file":
        return Scene(tmp_path, RemoteSettings(url=(tmp_path / "remote").as_uri()))
    scene: Scene = request.getfixturevalue("bucket")
    return scene
