from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from bentosync.settings import RemoteSettings
from tests.sync.scene import Scene


@pytest.fixture
def folder(tmp_path: Path) -> Scene:
    """For what does not depend on the kind of remote."""
    return Scene(tmp_path, RemoteSettings(url=(tmp_path / "remote").as_uri()))


@pytest.fixture(params=["file", "seaweed"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    if request.param == "file":
        return Scene(tmp_path, RemoteSettings(url=(tmp_path / "remote").as_uri()))
    server = request.getfixturevalue("seaweed_credentials")
    url = f"s3://{server.bucket}/{uuid.uuid4().hex}"
    return Scene(tmp_path, RemoteSettings(url=url, endpoint_url=server.endpoint_url))
