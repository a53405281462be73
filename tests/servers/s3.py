"""Real S3 servers on loopback: SeaweedFS (checks signatures, checksums, conditions) and moto (a second opinion)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from bentosync.errors import MissingExtra
from bentosync.testing.ports import free_ports
from bentosync.testing.s3 import S3Server, program, running
from bentosync.testing.seaweed import seaweedfs

__all__ = ["S3Server", "moto", "seaweedfs"]


def moto(folder: Path) -> AbstractContextManager[S3Server]:
    """`moto_server`: everything in memory, signatures unchecked."""
    found = program("moto_server")
    if found is None:
        raise MissingExtra("moto_server is not installed", hint="scripts/install dev")
    (port,) = free_ports(1)
    command = [found, "-H", "127.0.0.1", "-p", str(port)]
    return running(command, folder, S3Server(f"http://127.0.0.1:{port}"))
