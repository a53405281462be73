"""Real S3 servers on loopback: SeaweedFS (checks signatures, checksums, conditions) and moto (a second opinion)."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.servers.ports import free_ports

_START_SECONDS_MAX = 40.0


@dataclass(frozen=True)
class S3Server:
    """A running server with one empty bucket, and the credentials it knows."""

    endpoint_url: str
    bucket: str = "bench"
    access_key: str = "AKIDBENTOSYNCTEST"
    secret_key: str = "test/secret+key"

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


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[S3Server]:
    """`weed mini` with all its state in `folder`. Two may run at once: every port is its own."""
    names = ("master", "volume", "filer", "s3", "admin")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    server = S3Server(f"http://127.0.0.1:{ports['s3']}")
    options = [f"-{name}.port={port}" for name, port in ports.items()]
    options += [f"-{name}.port.grpc={port + 10_000}" for name, port in ports.items()]
    command = [
        _program("weed"), "-logtostderr=true", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        *options,
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false", "-s3.iam.readOnly=false",
        "-admin.ui=false", "-webdav=false", "-master.telemetry=false",
    ]  # fmt: skip
    with _running(command, folder, server):
        yield server


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[S3Server]:
    """`moto_server`: everything in memory, signatures unchecked."""
    (port,) = free_ports(1)
    server = S3Server(f"http://127.0.0.1:{port}")
    with _running([_program("moto_server"), "-H", "127.0.0.1", "-p", str(port)], folder, server):
        yield server


@contextlib.contextmanager
def _running(command: list[str], folder: Path, server: S3Server) -> Iterator[None]:
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **server.environment},
        )  # fmt: skip
    try:
        _wait_for_bucket(process, server, log)
        yield
    finally:
        process.kill()
        process.wait()


def _wait_for_bucket(process: subprocess.Popen[bytes], server: S3Server, log: Path) -> None:
    """Make the bucket as soon as the server answers, and wait until it is there."""
    deadline = time.monotonic() + _START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            _call(server, "PUT")
            if _call(server, "HEAD") == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{server.endpoint_url} did not start: {log.read_text(errors='replace')[-2000:]}")


def _call(server: S3Server, method: str) -> int:
    """The status of one request about the bucket, signed by botocore, which is not what we test."""
    request = AWSRequest(method, f"{server.endpoint_url}/{server.bucket}")
    S3SigV4Auth(Credentials(server.access_key, server.secret_key), "s3", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection(server.endpoint_url.removeprefix("http://"), timeout=2)
    with contextlib.closing(connection):
        connection.request(method, f"/{server.bucket}", headers=dict(request.headers))
        return connection.getresponse().status


def _program(name: str) -> str:
    """The program of this environment's wheel, else the system's."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    found = beside or shutil.which(name)
    if found is None:
        raise FileNotFoundError(name)
    return found
