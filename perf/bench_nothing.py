"""What do a pull and a push cost when there is nothing to do: the model is here, and it is there?

Each is a process of its own against the null server, which counts the bytes of bodies in both directions (manifests and
pointers, no model bytes). The interpreter alone, and one that imports botocore's session, are timed beside them: users
of SSO or roles pay for that, too. Runs are interleaved. Prints one JSON line per case: wall and CPU, in milliseconds,
median and range; `beyond_ms` is the median wall time beyond that of the interpreter alone. With `--hollow` a model of
any size fits on a small disk (`perf.hollow`); all of it is hashed, sent and pulled once, before anything is measured.

    python -m perf.bench_nothing --size 16GiB --hollow --runs 20 --out nothing.jsonl
    python -m perf.rows nothing.jsonl
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from perf import hollow, model, process, rivals
from perf.experiment import emit
from perf.null_server import serve
from perf.side_by_side import SETTLED_SECONDS, Case, Ours, Workspace

GOAL_MS = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=model.parse_size, default=1 << 30)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--schemes", nargs="+", choices=["http", "https"], default=["http", "https"])
    parser.add_argument("--folder", type=Path, help="needs three times the size; a temporary folder by default")
    parser.add_argument("--hollow", action="store_true")
    parser.add_argument("--out", type=Path, help="append JSON lines here as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bentosync-perf-", dir=arguments.folder) as folder:
        workspace = Workspace(Path(folder))
        with hollow.digging(workspace.target) if arguments.hollow else nullcontext():
            workspace.fill(model.Shape(arguments.size, shards=2, small=20, hollow=arguments.hollow))
            measured(workspace, False, 0)
        if arguments.hollow:
            # Digging has touched the files: the next run, which does not count, reads them once more.
            time.sleep(SETTLED_SECONDS)
        for scheme in arguments.schemes:
            for row in measured(workspace, scheme == "https", arguments.runs):
                emit({**row, "bytes": arguments.size, **process.machine()}, arguments.out)


def measured(workspace: Workspace, tls: bool, runs: int) -> list[dict[str, Any]]:
    """One row per case. The first run of each is not counted: it moves what is missing and warms the page cache."""
    taken: dict[str, list[process.Usage]] = {}
    moved: dict[str, int] = {}
    for number in range(runs + 1):
        for name, command in cases(workspace, tls).items():
            with serve(workspace.served, tls=tls, keep=True) as server:
                words = command or Ours(workspace).command(Case(name, tls, False), server)  # type: ignore[arg-type]
                assert words is not None
                used = workspace.run(words, server)
            if number:
                taken.setdefault(name, []).append(used)
                moved[name] = server.report["bytes_in"] + server.report["bytes_out"]
    alone = statistics.median([one.seconds for one in taken["interpreter"]]) if taken else 0.0
    return [row(name, "https" if tls else "http", used, moved[name], alone) for name, used in taken.items()]


def cases(workspace: Workspace, tls: bool) -> dict[str, rivals.Command | None]:
    """Name to command; None for an operation of ours."""
    return {
        "interpreter": rivals.Command([sys.executable, "-c", "pass"]),
        "botocore": rivals.Command([sys.executable, "-c", "import botocore.session"]),
        "pull": None,
        "push": None,
    }


def row(name: str, scheme: str, used: list[process.Usage], body_bytes: int, alone: float) -> dict[str, Any]:
    wall = [one.seconds * 1e3 for one in used]
    cpu = [one.cpu_seconds * 1e3 for one in used]
    return {
        "bench": "nothing",
        "case": name,
        "scheme": scheme,
        "runs": len(used),
        "wall_ms": [round(statistics.median(wall), 1), round(min(wall), 1), round(max(wall), 1)],
        "cpu_ms": [round(statistics.median(cpu), 1), round(min(cpu), 1), round(max(cpu), 1)],
        "beyond_ms": round(statistics.median(wall) - alone * 1e3, 1),
        "body_bytes": body_bytes,
        "goal_ms": GOAL_MS if name in ("pull", "push") else None,
    }


if __name__ == "__main__":
    main()
