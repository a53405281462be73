"""Real S3 servers on loopback: SeaweedFS (checks signatures, checksums, conditions) and moto (a second opinion)."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

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
        _program("weed"), "-logtostderr=true", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *options,
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false", "-admin.ui=false", "-webdav=false",
        "-master.telemetry=false", f"-bucket={server.bucket}",
    ]  # fmt: skip
    with _running(command, folder, server):
        yield server


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[S3Server]:
    """`moto_server`: everything in memory, signatures unchecked."""
    (port,) = free_ports(1)
    server = S3Server(f"http://127.0.0.1:{port}")
    with _running([_program("moto_server"), "-H", "127.0.0.1", "-p", str(port)], folder, server):
        request = urllib.request.Request(f"{server.endpoint_url}/{server.bucket}", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
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
        _wait_until_ready(process, server, log)
        yield
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], server: S3Server, log: Path) -> None:
    """An S3 error about the anonymous caller is as good a sign of life as a listing."""
    deadline = time.monotonic() + _START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            try:
                urllib.request.urlopen(f"{server.endpoint_url}/{server.bucket}", timeout=2).close()
            except urllib.error.HTTPError as error:
                with error:
                    if error.code in (403, 404):
                        return
            else:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{Path(process.args[0]).name} did not start: {log.read_text(errors='replace')[-2000:]}")  # type: ignore[index,arg-type]


def _program(name: str) -> str:
    """The program of this environment's wheel, else the system's."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    found = beside or shutil.which(name)
    if found is None:
        raise FileNotFoundError(name)
    return found
