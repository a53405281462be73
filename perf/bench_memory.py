"""How much memory does a pull take over 64 connections, does it grow with the model? The compiled core and the twin.

The model is hollow (`perf.hollow`): of 50 GB 200 MB lie on the disk, all of it is hashed, sent, received, proven and
written. The number of streams is 64 from start to end, where a user's pull would find out how many it needs. Peak RSS
is that of the largest process of the tree, as the kernel counts it. A push is beside it: its parts are 16 MiB each, so
`--memory` (128 MiB) allows eight. Prints one JSON line a case.

    python -m perf.bench_memory --sizes 4GiB 47GiB --folder /dev/shm
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from perf import hollow, process
from perf.experiment import Setting, emit, transferred
from perf.model import Shape, parse_size
from perf.side_by_side import Way, Workspace

GOAL_MIB = 300
CONNECTIONS = 64
_SHARD_BYTES = 4 << 30
_CASES: tuple[tuple[Way, bool, str], ...] = (
    ("pull", True, "auto"), ("pull", True, "off"), ("pull", False, "auto"), ("pull", False, "off"),
    ("push", True, "auto"), ("push", False, "auto"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=[4 << 30, 47 << 30])
    parser.add_argument("--folder", type=Path, help="needs a hundredth of the size and about 4 GiB in passing")
    parser.add_argument("--out", type=Path, help="append JSON lines here as well")
    arguments = parser.parse_args()
    failed = False
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="bentosync-perf-", dir=arguments.folder) as folder:
            workspace = Workspace(Path(folder))
            shape = Shape(size, max(2, size // _SHARD_BYTES), small=0, hollow=True)
            with hollow.digging(workspace.target):
                workspace.fill(shape)
                for way, tls, native in _CASES:
                    row = measured(workspace, shape, way, tls=tls, native=native)
                    failed = failed or not row["met"]
                    emit(row, arguments.out)
    sys.exit(failed)


def measured(workspace: Workspace, shape: Shape, way: Way, *, tls: bool, native: str) -> dict[str, object]:
    """One transfer."""
    setting = Setting(str(CONNECTIONS), {"jobs": CONNECTIONS, "seeking": False}, {})
    used, server = transferred(workspace, way, setting, {}, tls=tls, native=native)
    mib = used.rss_bytes / (1 << 20)
    return {
        "bench": "memory", "way": way, "scheme": "https" if tls else "http", "native": native, "bytes": shape.size,
        "connections": server["connections"], "rss_mib": round(mib, 1), "cpu_seconds": round(used.cpu_seconds, 2),
        "moved_bytes": server["bytes_out" if way == "pull" else "bytes_in"], "goal_mib": GOAL_MIB,
        "met": mib <= GOAL_MIB, **process.machine(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
