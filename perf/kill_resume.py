"""What a `kill -9` costs: push and pull a model, killed at drawn moments and in every phase, and count the bytes on the
wire from outside.

Each child process kills itself with SIGKILL when it has got through a drawn share of what was left, or when a phase
begins, so every moment is hit exactly; the next child goes on where it stopped. A relay between client and server
counts bytes in both directions. What a kill cost is what moved less what was kept: on a push the parts and objects that
the store has, on a pull what the next child says it has already. The number of streams is fixed, so that the promise
can be checked for each kill: a leaf of each stream on the way down, a part of each on the way up. At the end the pulled
files are compared with the pushed ones, byte for byte. Prints one JSON line a kill and one for each way; fails if a
kill cost more than promised or a byte is wrong.

    python -m perf.kill_resume --size 4GiB --shards 4 --kills 50
"""

from __future__ import annotations

import argparse
import asyncio
import filecmp
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bentosync.cli.synthetic import write_model
from bentosync.manifest.values import LEAF_BYTES
from bentosync.remote.open import open_remote
from bentosync.settings import RemoteSettings, TransferSettings
from bentosync.store.store import Store
from bentosync.transfer.parts import PART_BYTES_MIN
from perf.model import parse_size
from tests.servers.relay import Traffic, relay
from tests.servers.s3 import S3Server, seaweedfs

# argv: operation, what to die of (a phase by its number, or a share of what is left), bytes that are stored already,
# streams, where to say what was here already.
_CHILD = """
import asyncio, os, signal, sys
from bentosync import aio, events
from bentosync.settings.load import load
from msgspec.structs import replace
operation, moment, stored, streams, note = sys.argv[1:]
seen, base = 0, int(stored)
def watch(event):
    global seen, base
    if isinstance(event, events.Started):
        base = max(base, event.reused_bytes)
        open(note, "w").write(str(event.reused_bytes))
    if moment == "never":
        reached = False
    elif moment.startswith("phase"):
        seen += isinstance(event, events.Phase)
        reached = seen == int(moment[5:])
    else:
        aim = lambda: base + float(moment) * (event.total_bytes - base)
        reached = isinstance(event, events.Progress) and event.done_bytes >= aim()
    if reached:
        os.kill(os.getpid(), signal.SIGKILL)
loaded = load()
transfer = replace(loaded.transfer, jobs=int(streams), seeking=False)
asyncio.run(getattr(aio, operation)("m:v1", settings=replace(loaded, transfer=transfer), on_event=watch))
"""
_MIB = 1 << 20
_PHASES = 3
_CONTROL_BYTES = 4 << 20
"""Manifests, heads and records of one process; they are no part of the promise."""


@dataclass(frozen=True)
class Scene:
    """A store of one's own at each end, the server between them, and the relay in front of it."""

    root: Path
    server: S3Server
    port: int
    traffic: Traffic
    streams: int

    def child(self, operation: str, moment: str, stored: int) -> int:
        """Run one; its exit status."""
        (self.root / "note").unlink(missing_ok=True)
        environment = {
            **os.environ, **self.server.environment, "BENTOML_HOME": str(self.home(operation)),
            "BENTOSYNC_REMOTE": f"s3://{self.server.bucket}/p", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "BENTOSYNC_CACHE_DIR": str(self.root / "cache"),
        }  # fmt: skip
        words = [
            sys.executable,
            "-c",
            _CHILD,
            operation,
            moment,
            str(stored),
            str(self.streams),
            str(self.root / "note"),
        ]
        return subprocess.run(words, env=environment, check=False).returncode

    def home(self, operation: str) -> Path:
        """The store that pushes, or the one that pulls."""
        return self.root / ("publisher" if operation == "push" else "consumer")

    def moved(self, operation: str) -> int:
        """Bytes on the wire so far, in the direction of the payload."""
        return self.traffic.up if operation == "push" else self.traffic.down

    def kept(self, operation: str) -> int | None:
        """What a push has in the store, or what the last pull found here; None if that did not come so far."""
        if operation == "push":
            return asyncio.run(_stored(self.server))
        note = self.root / "note"
        return int(note.read_text()) if note.exists() else None


def main() -> None:
    """Run the experiment and print one JSON line a kill, then a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default=4 << 30)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--kills", type=int, default=10, help="each way, those in phases included")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--dir", type=Path, default=None, help="where to work; a temporary folder by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        broken = measured(Path(folder), arguments.size, arguments.shards, arguments.kills, arguments.streams,
                          random.Random(arguments.seed))  # fmt: skip
    sys.exit(broken)


def measured(root: Path, size: int, shards: int, kills: int, streams: int, draw: random.Random) -> bool:
    """Both ways; whether a promise was broken."""
    (root / "weed").mkdir()
    with seaweedfs(root / "weed") as server, relay(int(server.endpoint_url.rsplit(":", 1)[1])) as (port, traffic):
        with Store(root / "publisher").create("m:v1") as model:
            write_model(Path(model.path), size_bytes=size, shards=shards)
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]  # a session token, for instance, would go with keys that it does not belong to
        os.environ.update(server.environment)  # for our own look at what is stored
        scene = Scene(root, server, port, traffic, streams)
        broken = [killed(scene, way, promise, size, kills, draw) for way, promise in
                  (("push", PART_BYTES_MIN), ("pull", LEAF_BYTES))]  # fmt: skip
        pushed, pulled = (Path(Store(root / home).get("m:v1").path) for home in ("publisher", "consumer"))
        return _differ(pushed, pulled) or any(broken)


def killed(scene: Scene, way: str, promise: int, size: int, kills: int, draw: random.Random) -> bool:
    """One way, killed so often, then run to its end; whether a kill cost more than `promise` for each stream."""
    early, late = [f"phase{number}" for number in range(1, _PHASES)], [f"phase{_PHASES}"]
    count = kills - len(early) - len(late)
    # Such shares that as much is left for every kill to come.
    drawn = [min(0.99, 2 * draw.random() / (count - number + 1)) for number in range(count)]
    before = scene.moved(way)
    rows: list[dict[str, Any]] = []
    worst = 0
    for moment in [*early, *map(str, drawn), *late, "never"]:
        began, stored = scene.moved(way), scene.kept("push") if way == "push" else None
        code = scene.child(way, moment, stored or 0)
        if code != (0 if moment == "never" else -signal.SIGKILL):
            raise SystemExit(f"a {way} to be killed at {moment} ended with {code}")
        kept = stored if way == "push" else scene.kept("pull")
        rows.append({"moment": moment, "moved": scene.moved(way) - began, "kept": kept})
        worst = max(worst, _lost(way, rows))
    total, bound = scene.moved(way) - before, scene.streams * promise + _CONTROL_BYTES
    summary: Mapping[str, object] = {
        "operation": way, "payload_mib": size / _MIB, "moved_mib": round(total / _MIB, 1),
        "excess_mib": round((total - size) / _MIB, 1), "kills": kills, "streams": scene.streams,
        "worst_kill_mib": round(worst / _MIB, 1), "promised_mib": bound / _MIB, "kept": worst <= bound,
    }  # fmt: skip
    print(json.dumps(summary), flush=True)
    return worst > bound


def _lost(way: str, rows: list[dict[str, Any]]) -> int:
    """What the kill before the last one cost, which is known now; 0 if one of both did not come so far as to look."""
    if len(rows) < 2 or rows[-2]["kept"] is None or rows[-1]["kept"] is None:
        return 0
    killed, after = rows[-2:]
    lost = max(0, int(killed["moved"] - (after["kept"] - killed["kept"])))
    numbers = {name: round(value / _MIB, 1) for name, value in (("moved_mib", killed["moved"]), ("lost_mib", lost))}
    print(json.dumps({"operation": way, "killed_at": killed["moment"], **numbers}), flush=True)
    return lost


async def _stored(server: S3Server) -> int:
    """Bytes of all parts and objects of the files."""
    settings = RemoteSettings(f"s3://{server.bucket}/p", endpoint_url=server.endpoint_url, region="us-east-1")
    remote = open_remote(settings, TransferSettings())
    try:
        total = sum([stat.size async for stat in remote.list("files/")])
        async for upload in remote.list_uploads("files/"):
            total += sum(part.size for part in await remote.list_parts(upload))
        return total
    finally:
        await remote.aclose()


def _differ(pushed: Path, pulled: Path) -> bool:
    names = sorted(path.relative_to(pushed).as_posix() for path in pushed.rglob("*") if path.is_file())
    equal, different, missing = filecmp.cmpfiles(pushed, pulled, names, shallow=False)
    print(json.dumps({"files": len(names), "equal": len(equal), "different": different, "missing": missing}))
    return bool(different or missing)


if __name__ == "__main__":
    main()
