"""What moves when a model is exported to each kind of storage and imported from it, and what does it cost?

    python -m perf.bench_protocols [--mib 256] [--protocols s3,gs,…] [--dir /tmp] [--out FILE]
    python -m perf.bench_protocols --table FILE

Each step runs in a process of its own against a server on loopback that lives in this one (SeaweedFS in its own), so
CPU seconds are the client's alone, and seconds are often the server's: all but SeaweedFS are Python. `extra_mib` is
temporary disk of the client, as in `bench_exchange`. BentoML exports and imports over FTP, the one protocol that its
environment speaks. What was imported is compared with the source outside the clock. Results are JSON lines.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bentosync.cli.synthetic import write_model
from bentosync.store.store import Store
from perf.bench_exchange import BENTOML_PYTHON, step
from perf.process import file_system, machine
from tests.servers.cloud import Cloud
from tests.servers.s3 import S3Server

PROTOCOLS = ("s3", "gs", "dropbox", "ftp", "sftp", "webdav")


@dataclass(frozen=True)
class Served:
    """One protocol's server, and how a client finds it. `stored` counts the bytes that it keeps."""

    server: str
    url: str
    stored: Callable[[], int]
    environment: dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--protocols", default=",".join(PROTOCOLS))
    parser.add_argument("--dir", type=Path, default=None)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        print(table([json.loads(line) for line in arguments.table.read_text().splitlines()]))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bentosync-protocols-", dir=arguments.dir) as base:
        rows.append({"machine": machine() | {"file_system": file_system(Path(base))}})
        for protocol in arguments.protocols.split(","):
            for row in exchange(Path(base), protocol, arguments.mib):
                print(json.dumps(row), flush=True)
                rows.append(row)
    if arguments.out:
        arguments.out.write_text("".join(json.dumps(row) + "\n" for row in rows))


def exchange(base: Path, protocol: str, mib: int) -> Iterator[dict[str, Any]]:
    """One model out and in again, by every client that speaks the protocol."""
    clients = ["bentosync"]
    if protocol == "ftp" and Path(BENTOML_PYTHON).is_file():
        clients.append("bentoml")
    for client in clients:
        place, served = base / "place", base / "served"
        served.mkdir()
        with Store(place / "source").create("m:v1") as model:
            write_model(Path(model.path), size_bytes=mib << 20, shards=2, seed=1)
        with contextlib.ExitStack() as running:
            at = running.enter_context(SERVERS[protocol](served))
            common = {"bench": "protocols", "protocol": protocol, "server": at.server, "mib": mib}
            out = step(place, client, "export", place / "source", at.url, at.environment)
            yield common | out | {"moved": at.stored()}
            back = step(place, client, "import", place / "imported", at.url, at.environment)
            names = [path.relative_to(model.path).as_posix() for path in Path(model.path).rglob("*") if path.is_file()]
            equal, _, _ = filecmp.cmpfiles(model.path, place / "imported/models/m/v1", names, shallow=False)
            yield common | back | {"moved": at.stored(), "files_equal": len(equal) == len(names)}
        for folder in (place, served):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _s3(folder: Path) -> Iterator[Served]:
    from tests.servers.s3 import seaweedfs

    with seaweedfs(folder) as server:
        environment = {**server.environment, "AWS_ENDPOINT_URL": server.endpoint_url}
        yield Served("SeaweedFS", f"s3://{server.bucket}/m.tar", lambda: _stored(server), environment)


@contextlib.contextmanager
def _gs(folder: Path) -> Iterator[Served]:
    from tests.servers.gcs import gcs

    with gcs() as cloud:
        options = f"endpoint_url=http://127.0.0.1:{cloud.port}&token={cloud.token}"
        yield Served("ours, JSON API", f"gs://bench/m.tar?{options}", lambda: _kept(cloud), {})


@contextlib.contextmanager
def _dropbox(folder: Path) -> Iterator[Served]:
    from tests.servers.dropbox import dropbox

    with dropbox(folder) as cloud:
        host = f"127.0.0.1:{cloud.port}"
        environment = {
            "DROPBOX_API_HOST": host, "DROPBOX_API_CONTENT_HOST": host, "REQUESTS_CA_BUNDLE": str(cloud.authority),
            "DROPBOX_ACCESS_TOKEN": cloud.token,
        }  # fmt: skip
        yield Served("ours, HTTP API v2 over TLS", "dropbox:///m.tar", lambda: _kept(cloud), environment)


@contextlib.contextmanager
def _ftp(folder: Path) -> Iterator[Served]:
    from tests.servers.ftp import ftp

    with ftp(folder) as server:
        yield Served("pyftpdlib", f"ftp://me:hush@127.0.0.1:{server.port}/m.tar", lambda: _sum(folder), {})


@contextlib.contextmanager
def _sftp(folder: Path) -> Iterator[Served]:
    from tests.servers.sftp import sftp

    known = folder.parent / "known_hosts"
    with sftp(folder, known) as port:
        url = f"sftp://me:hush@127.0.0.1:{port}/m.tar?known_hosts={known}"
        yield Served("asyncssh", url, lambda: _sum(folder), {})


@contextlib.contextmanager
def _webdav(folder: Path) -> Iterator[Served]:
    from tests.servers.webdav import webdav

    with webdav(folder) as port:
        yield Served("WsgiDAV", f"webdav://me:hush@127.0.0.1:{port}/m.tar", lambda: _sum(folder), {})


SERVERS = {"s3": _s3, "gs": _gs, "dropbox": _dropbox, "ftp": _ftp, "sftp": _sftp, "webdav": _webdav}


def _stored(server: S3Server) -> int:
    import botocore.session

    client = botocore.session.get_session().create_client(
        "s3", "us-east-1", endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key, aws_secret_access_key=server.secret_key,
    )  # fmt: skip
    return int(client.head_object(Bucket=server.bucket, Key="m.tar")["ContentLength"])


def _sum(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.tar*") if path.is_file())


def _kept(cloud: Cloud) -> int:
    return sum(map(len, cloud.files.values()))


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table in Markdown, one line for each client and protocol."""
    lines = [
        "| protocol | server | client | bytes of the archive there | export: s | CPU s | extra disk MiB "
        "| import: s | CPU s | extra disk MiB | files equal |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    steps = [row for row in rows if "step" in row]
    for out, back in zip(steps[::2], steps[1::2], strict=True):
        costs = " | ".join(f"{row[key]}" for row in (out, back) for key in ("seconds", "cpu_seconds", "extra_mib"))
        equal = "yes" if back["files_equal"] else "NO"
        lines.append(f"| {out['protocol']} | {out['server']} | {out['arm']} | {out['moved']} | {costs} | {equal} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
