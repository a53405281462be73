"""A server that speaks S3, running on loopback as a process of its own: what a client must know, and its life.

The process is a child of a small one, the guard (`bentosync.testing.guard`), which ends it as soon as this process is
gone: at the end of a `with` block, and as well after a crash or a `kill -9`, when nobody can clean up any more.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from bentosync.remote.s3.signing import EMPTY_SHA256, Credentials, Signer
from bentosync.testing import guard

_START_SECONDS_MAX = 40.0
_REQUEST_SECONDS_MAX = 5.0
_END_SECONDS_MAX = 10.0
_LOG_CHARS = 2000


@dataclass(frozen=True)
class S3Server:
    """A running server, one of its buckets, and the credentials it knows."""

    endpoint_url: str
    bucket: str = "bench"
    access_key: str = "AKIDBENTOSYNCTEST"
    secret_key: str = field(default="test/secret+key", repr=False)

    @property
    def url(self) -> str:
        """The bucket as a remote: `s3://bucket`."""
        return f"s3://{self.bucket}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client needs to find the credentials, and nothing of this machine's own."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def with_bucket(self, name: str) -> S3Server:
        """The same server with a bucket of this name, which is made if it is not there.

        Raises:
            RuntimeError: The server refuses, with what it said.
        """
        server = replace(self, bucket=name)
        status, text = server._ask("PUT")
        if status not in (200, 409):
            raise RuntimeError(f"{self.endpoint_url} did not make the bucket {name}: {status} {text}")
        return server

    def _ask(self, method: str) -> tuple[int, str]:
        """Status and text of one request about the bucket."""
        url = f"{self.endpoint_url}/{self.bucket}"
        who = Credentials(self.access_key, self.secret_key)
        headers = Signer().sign(
            who, method=method, url=url, headers={}, payload=EMPTY_SHA256, region="us-east-1", now=datetime.now(UTC)
        )
        address = self.endpoint_url.removeprefix("http://")
        with contextlib.closing(http.client.HTTPConnection(address, timeout=_REQUEST_SECONDS_MAX)) as connection:
            connection.request(method, f"/{self.bucket}", headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.read(_LOG_CHARS).decode(errors="replace")


@contextlib.contextmanager
def running(command: Sequence[str], folder: Path, server: S3Server) -> Iterator[S3Server]:
    """`server`, started by `command` with all its state in `folder`, from when its bucket is there.

    Raises:
        RuntimeError: It did not start, with the end of its log.
    """
    log = folder / "server.log"
    guarded = [sys.executable, "-I", "-S", guard.__file__, str(folder), *command]
    with log.open("wb") as output:
        process = subprocess.Popen(
            guarded, cwd=folder, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), **server.environment},
        )  # fmt: skip
    assert process.stdin is not None
    try:
        _wait_for_bucket(process, server, log)
        yield server
    finally:
        process.stdin.close()
        process.wait(_END_SECONDS_MAX)


def program(name: str) -> str | None:
    """The program of this environment's wheel, else the system's; None where there is none."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def _wait_for_bucket(process: subprocess.Popen[bytes], server: S3Server, log: Path) -> None:
    """Make the bucket as soon as the server answers, and wait until it is there."""
    deadline = time.monotonic() + _START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            server._ask("PUT")
            if server._ask("HEAD")[0] == 200:
                return
        time.sleep(0.05)
    said = log.read_text(errors="replace")[-_LOG_CHARS:]
    raise RuntimeError(f"{server.endpoint_url} did not start: {said}")
