"""What do export and import of a model cost, ours against BentoML's?

    python perf/bench_exchange.py [--mib 1024] [--stock-mib 64] [--formats bentomodel,tar] [--dir /tmp]

Each step runs in a process of its own. `temp_mib` is the most that lay in $TMPDIR and in the store's staging folder at
once, sampled; the archive itself and the version in the store are not counted. Results are JSON lines.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bentosync.cli.synthetic import write_model
from bentosync.store.store import Store

OURS = """
import sys; from bentosync import models
step, what, archive = sys.argv[1:]
models.export_model(what, archive) if step == "export" else models.import_model(archive)
"""
STOCK = OURS.replace("from bentosync import models", "from bentoml import models")
BENTOML_PYTHON = os.environ.get("BENTOSYNC_TEST_BENTOML_PYTHON", "/tmp/bentoml-env/bin/python")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--stock-mib", type=int, default=64)
    parser.add_argument("--formats", default="bentomodel,tar,gz,zip")
    parser.add_argument("--dir", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as base:
        for extension in arguments.formats.split(","):
            measure(Path(base), "bentosync", sys.executable, OURS, arguments.mib, extension)
        if arguments.stock_mib:
            measure(Path(base), "bentoml", BENTOML_PYTHON, STOCK, arguments.stock_mib, "bentomodel")


def measure(base: Path, who: str, python: str, script: str, mib: int, extension: str) -> None:
    home = base / f"{who}-{extension}"
    with Store(home).create("m:v1") as model:
        write_model(Path(model.path), size_bytes=mib << 20, shards=2, seed=1)
    archive = base / f"m.{who}.{extension}"
    steps = [("export", who, python, script, home), ("import", who, python, script, Path(f"{home}-in"))]
    if who == "bentosync" and extension == "bentomodel":
        steps.append(("import of ours", "bentoml", BENTOML_PYTHON, STOCK, Path(f"{home}-theirs")))
    for step, actor, interpreter, source, there in steps:
        temporary = base / "tmp"
        temporary.mkdir(exist_ok=True)
        environ = os.environ | {"BENTOML_HOME": str(there), "TMPDIR": str(temporary), "BENTOML_DO_NOT_TRACK": "True"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        child = subprocess.Popen([interpreter, "-c", source, step, "m:v1", str(archive)], env=environ)
        temp = sampled(child, [temporary])
        seconds = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert child.returncode == 0
        print(json.dumps({
            "who": actor, "step": step, "format": extension, "mib": mib, "seconds": round(seconds, 2),
            "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
            "temp_mib": temp >> 20, "archive_mib": round(archive.stat().st_size / (1 << 20), 1),
            "cores": os.cpu_count(),
        }), flush=True)  # fmt: skip
    archive.unlink()
    subprocess.run(["rm", "-rf", *(str(step[-1]) for step in steps)], check=True)


def sampled(child: subprocess.Popen[bytes], folders: list[Path]) -> int:
    """Wait for a process; the most bytes seen in the folders meanwhile."""
    most, done = 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not done.wait(0.1):
            most = max(most, sum(_bytes(folder) for folder in folders))

    watcher = threading.Thread(target=look)
    watcher.start()
    child.wait()
    done.set()
    watcher.join()
    return most


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except OSError:
            continue
    return total


if __name__ == "__main__":
    main()
