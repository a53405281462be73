"""As process 1 of a container, where a signal that nobody handles is ignored."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes.conftest import CREDENTIALS, UID, Boxed
from tests.processes.sandbox import Volume
from tests.servers.faulty.actions import Stall
from tests.servers.faulty.server import BUCKET, FaultyS3


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def inner(process: subprocess.Popen[str]) -> int:
    """The process that `unshare` started, by its number outside."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0])


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_pull_that_is_process_1_stops_orderly_and_goes_on_when_started_again(
    boxed: Boxed, home: Path, s3: FaultyS3, signum: int, status: int
) -> None:
    around = CREDENTIALS | {"AWS_ENDPOINT_URL": s3.url, "BENTOSYNC_REMOTE": f"s3://{BUCKET}"}
    box = boxed(Volume(home, "/bentoml"), uid=UID, gid=UID, read_only=True, environment=around, first=True)
    stall = s3.inject("GetObject", Stall(at=1 << 20), key=r"00001.*safetensors", times=None)
    process = box.start("bentosync", "pull", "m:v1")
    wait_until(lambda: stall.fired)
    pid = inner(process)
    numbers = next(
        line.split()[1:] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("NSpid")
    )
    assert numbers[-1] == "1"
    os.kill(pid, signum)
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (status, ""), stderr
    assert "Resume: bentosync pull m:v1" in stderr
    assert not (home / "models/m/v1").exists()
    s3.heal()
    again = boxed(Volume(home, "/bentoml"), uid=UID, gid=UID, environment=around, first=True).run(
        "bentosync", "pull", "m:v1"
    )
    assert again.returncode == 0, again.stderr
