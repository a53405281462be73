"""The fixtures. Each test gets a store, a remote and an environment of its own, and no credentials of the machine.

`bentosync_store` is the ground that the others stand on: it points BENTOML_HOME, the caches and the default remote into
the test's folder, takes away every variable of bentosync and AWS, and hides the user's config file. A `bentosync.toml`
in the working directory is still read, because it belongs to the code under test; but the remote it names as default is
not used, and nothing finds credentials for the others. BentoML remembers its home for as long as a process lives,
so it is told to forget it, before the test and after it.

The S3 server is started once in a session and gives every test a bucket; see `bentosync.testing.seaweed`.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bentosync import service
from bentosync.errors import MissingExtra
from bentosync.store.model import Model
from bentosync.store.store import Store
from bentosync.testing.s3 import S3Server
from bentosync.testing.seaweed import seaweedfs
from bentosync.testing.tiny import write_tiny

_FOREIGN = ("AWS_", "BENTOML_", "BENTOSYNC_")


@pytest.fixture
def bentosync_store(tmp_path: Path) -> Iterator[Store]:
    """An empty store, which `bentosync` and `bentosync.models` use for the length of the test.

    The default remote is an empty folder. Both lie in `tmp_path / "bentosync"`.
    """
    base = tmp_path / "bentosync"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
            patch.delenv(name)
        for name, value in _environment(base).items():
            patch.setenv(name, value)
        service.forget_home()
        yield Store(base / "home")
    service.forget_home()


@pytest.fixture
def tiny_model(bentosync_store: Store) -> Model:
    """`tiny:v1`, saved in `bentosync_store`: a few KiB of real safetensors, whose tensors `tiny_tensors()` gives."""
    with bentosync_store.create("tiny:v1", labels={"purpose": "test"}) as model:
        write_tiny(Path(model.path))
    return bentosync_store.get("tiny:v1")


@pytest.fixture(scope="session")
def seaweedfs_server() -> Iterator[S3Server]:
    """The one S3 server of the session, with an empty bucket. Tests want `s3_server`."""
    with tempfile.TemporaryDirectory(prefix="bentosync-s3-", ignore_cleanup_errors=True) as folder:
        try:
            running = seaweedfs(Path(folder))
        except MissingExtra as error:
            pytest.fail(f"{error.message}: {error.hint}", pytrace=False)
        with running as server:
            yield server


@pytest.fixture
def s3_server(seaweedfs_server: S3Server, bentosync_store: Store) -> Iterator[S3Server]:
    """A bucket of the test's own on a real S3 server: its credentials and endpoint are those of the environment.

    The bucket is the default remote.
    """
    server = seaweedfs_server.with_bucket(f"test-{secrets.token_hex(6)}")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", server.endpoint_url)
        patch.setenv("BENTOSYNC_REMOTE", server.url)
        yield server


def _environment(base: Path) -> dict[str, str]:
    """Where everything goes that bentosync reads or writes by itself."""
    return {
        "BENTOML_HOME": str(base / "home"),
        "BENTOSYNC_CACHE_DIR": str(base / "cache"),
        "BENTOSYNC_REMOTE": (base / "remote").as_uri(),
        "BENTOML_DO_NOT_TRACK": "True",
        "XDG_CONFIG_HOME": str(base / "config"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
