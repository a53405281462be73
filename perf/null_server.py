"""The null S3 server of `nullserver/`: built when its source has changed, started as a process of its own.

with serve(root, tls=True, conditions={"round-trip": "0.02"}) as server:
    ...                                  # server.endpoint_url, server.environment
server.report["cpu_seconds"]             # what it did, known when it has ended
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BUCKET = "bench"

_SOURCE = Path(__file__).with_name("nullserver")
_BUILD = Path(__file__).parents[1] / "build" / "perf"
_END_SECONDS_MAX = 10.0


@dataclass
class NullServer:
    """A running server. `report` is filled when it has ended."""

    endpoint_url: str
    ca_bundle: Path | None = None
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What any client needs: this machine's own settings and credentials are shut out."""
        trust = dict.fromkeys(("AWS_CA_BUNDLE", "SSL_CERT_FILE"), str(self.ca_bundle)) if self.ca_bundle else {}
        return trust | {
            "AWS_ACCESS_KEY_ID": "AKIDBENTOSYNCPERF",
            "AWS_SECRET_ACCESS_KEY": "perf/secret+key",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


@contextlib.contextmanager
def serve(
    root: Path | None = None, *, tls: bool = False, keep: bool = False, conditions: Mapping[str, str] | None = None
) -> Iterator[NullServer]:
    """Start a server over the buckets below `root`; `conditions` are its options without their dashes.

    Args:
        root: Folders in it are buckets, files below them objects.
        tls: With a certificate made for this build folder; its authority is in `environment`.
        keep: Write uploaded bodies below `root` instead of dropping them.
        conditions: Such as `{"round-trip": "0.02", "refuse-share": "0.3"}`; `nullserver --help` has them all.

    Raises:
        RuntimeError: It does not build or does not start.
    """
    command = [str(build())]
    for name, value in (conditions or {}).items():
        command += [f"--{name}", value]
    command += ["--root", str(root)] if root else []
    command += ["--keep", "1"] if keep else []
    authority = None
    if tls:
        folder = certificates()
        authority = folder / "client.pem"
        command += ["--certificate", str(folder / "server.pem"), "--key", str(folder / "server.key")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    if not port:
        raise RuntimeError(f"the null server did not start: {command}")
    server = NullServer(f"{'https' if tls else 'http'}://127.0.0.1:{port}", authority)
    try:
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            report = process.communicate(timeout=_END_SECONDS_MAX)[0].strip()
            server.report.update(json.loads(report or "{}"))
        finally:
            process.kill()
            process.wait()


def build() -> Path:
    """The server's program, compiled if there is none of this source. Raises `RuntimeError` without a compiler."""
    sources = sorted(_SOURCE.glob("*.cpp"))
    state = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_SOURCE.iterdir()))).hexdigest()[:16]
    program = _BUILD / f"nullserver-{state}"
    if program.exists():
        return program
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        raise RuntimeError("the null server needs a C++20 compiler; scripts/bootstrap installs one")
    _BUILD.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}")
    command = [compiler, "-std=c++20", "-O2", "-Wall", "-Wextra", "-pthread", *map(str, sources), "-o", str(fresh)]
    done = subprocess.run([*command, "-ldl"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the null server does not build:\n{done.stderr}")
    fresh.rename(program)
    return program


def certificates() -> Path:
    """A folder with `server.pem`, `server.key` and the authority `client.pem`, for 127.0.0.1 and localhost."""
    folder = _BUILD / "certificates"
    if not (folder / "client.pem").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "trustme", "--quiet", "-d", str(folder), "-i", "127.0.0.1", "localhost"]
        subprocess.run(command, check=True)
    return folder
