"""What a `kill -9` costs: push and pull a model, killed at drawn moments, and count the bytes on the wire from outside.

Each child process kills itself with SIGKILL when its progress passes the drawn fraction, so every moment is hit
exactly; the next child goes on where it stopped. A relay between client and server counts bytes in both directions. At
the end the pulled files are compared with the pushed ones, byte for byte.

    python -m perf.kill_resume --size 4GiB --shards 4 --kills 10
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bentosync.cli.synthetic import write_model
from bentosync.store.store import Store
from tests.servers.relay import relay
from tests.servers.s3 import S3Server, seaweedfs

_CHILD = """
import os, signal, sys
import bentosync
from bentosync import events
operation, fraction = sys.argv[1], float(sys.argv[2])
def watch(event):
    if isinstance(event, events.Progress) and event.done_bytes >= fraction * event.total_bytes:
        os.kill(os.getpid(), signal.SIGKILL)
getattr(bentosync, operation)("m:v1", on_event=watch)
"""
_MIB = 1 << 20


def main() -> None:
    """Run the experiment and print one JSON line a kill, then a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", default="4GiB")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--dir", type=Path, default=None, help="where to work; a temporary folder by default")
    arguments = parser.parse_args()
    size = int(arguments.size.removesuffix("GiB")) << 30 if arguments.size.endswith("GiB") else int(arguments.size)
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        root = Path(folder)
        (root / "weed").mkdir()
        with seaweedfs(root / "weed") as server, relay(int(server.endpoint_url.rsplit(":", 1)[1])) as (port, traffic):
            with Store(root / "publisher").create("m:v1") as model:
                write_model(Path(model.path), size_bytes=size, shards=arguments.shards)
            for operation, home, way in (("push", "publisher", "up"), ("pull", "consumer", "down")):
                moments = sorted(draw.random() for _ in range(arguments.kills))
                for fraction in [*moments, 2.0]:
                    before = getattr(traffic, way)
                    code = _child(operation, fraction, root / home, server, port)
                    moved = getattr(traffic, way) - before
                    print(json.dumps({"operation": operation, "killed_at": fraction if fraction < 1 else None,
                                      "exit": code, "moved_mib": round(moved / _MIB, 1)}), flush=True)  # fmt: skip
                total = getattr(traffic, way)
                traffic.clear()
                sizes = {"payload_mib": size, "moved_mib": total, "excess_mib": total - size}
                rounded = {name: round(value / _MIB, 1) for name, value in sizes.items()}
                print(json.dumps({"operation": operation, **rounded, "kills": arguments.kills}))
                if operation == "push":
                    _child("pull", 2.0, root / "clean", server, port)
                    print(json.dumps({"clean_pull_mib": round(traffic.down / _MIB, 1)}))
                    traffic.clear()
                    shutil.rmtree(root / "clean")
            _compare(Path(Store(root / "publisher").get("m:v1").path), Path(Store(root / "consumer").get("m:v1").path))


def _child(operation: str, fraction: float, home: Path, server: S3Server, port: int) -> int:
    environment = {
        **os.environ, **server.environment, "BENTOML_HOME": str(home), "BENTOSYNC_REMOTE": f"s3://{server.bucket}/p",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", _CHILD, operation, str(fraction)], env=environment, check=False
    ).returncode


def _compare(pushed: Path, pulled: Path) -> None:
    names = sorted(path.relative_to(pushed).as_posix() for path in pushed.rglob("*") if path.is_file())
    equal, different, missing = filecmp.cmpfiles(pushed, pulled, names, shallow=False)
    print(json.dumps({"files": len(names), "equal": len(equal), "different": different, "missing": missing}))
    if different or missing:
        sys.exit(1)


if __name__ == "__main__":
    main()
