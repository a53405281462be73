"""What do export and import of a model cost, ours against BentoML's, and does BentoML read ours?

    python -m perf.bench_exchange [--mib 2048] [--stock-xz-mib 64] [--formats bentomodel,tar] [--dir /tmp] [--out FILE]

Each step runs in a process of its own; what was imported is compared with the source outside the clock. `extra_mib` is
temporary disk: the most that lay in $TMPDIR, in the store and beside the archive at once, sampled ten times a second,
beyond what lies there in the end. BentoML compresses a `.bentomodel` with one thread of xz, half a second for a MiB, so
it gets a smaller model in that format (`--stock-xz-mib`), and the full one as a tar. Results are JSON lines.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bentosync.cli.synthetic import write_model
from bentosync.store.store import Store
from perf.process import file_system, machine

OURS = """
import sys; from bentosync import models
step, what, archive = sys.argv[1:]
models.export_model(what, archive) if step == "export" else models.import_model(archive)
"""
STOCK = OURS.replace("from bentosync import models", "from bentoml import models")
ROOT = Path(__file__).parents[1]
BENTOML_PYTHON = os.environ.get("BENTOSYNC_TEST_BENTOML_PYTHON", str(ROOT / ".venv-bentoml/bin/python"))
WHO = {"bentosync": (sys.executable, OURS), "bentoml": (BENTOML_PYTHON, STOCK)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--stock-xz-mib", type=int, default=64)
    parser.add_argument("--formats", default="bentomodel,tar")
    parser.add_argument("--dir", type=Path, default=None)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bentosync-bench-", dir=arguments.dir) as base:
        rows = [{"machine": machine() | {"file_system": file_system(Path(base))}}]
        for row in measured(Path(base), arguments):
            print(json.dumps(row), flush=True)
            rows.append(row)
    if arguments.out:
        arguments.out.write_text("".join(json.dumps(row) + "\n" for row in rows))


def measured(base: Path, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    theirs = Path(BENTOML_PYTHON).is_file()
    for extension in filter(None, arguments.formats.split(",")):
        yield from exchange(base, "bentosync", arguments.mib, extension, readers=("bentoml",) if theirs else ())
        if theirs and extension != "bentomodel":
            yield from exchange(base, "bentoml", arguments.mib, extension)
    if theirs and arguments.stock_xz_mib:
        yield from exchange(base, "bentoml", arguments.stock_xz_mib, "bentomodel")
        yield from exchange(base, "bentosync", arguments.stock_xz_mib, "bentomodel")


def exchange(
    base: Path, who: str, mib: int, extension: str, *, readers: tuple[str, ...] = ()
) -> Iterator[dict[str, Any]]:
    """One model out by `who`, and in again by itself and by the other readers."""
    place = base / "place"
    source = place / "source"
    with Store(source).create("m:v1") as model:
        write_model(Path(model.path), size_bytes=mib << 20, shards=2, seed=1)
    archive = place / f"m.{extension}"
    common = {"bench": "exchange", "wrote": who, "format": extension, "mib": mib}

    def row_of(by: str, what: str, home: Path) -> dict[str, Any]:
        row = common | step(place, by, what, home, str(archive))
        return row | {"archive_mib": round(archive.stat().st_size / (1 << 20), 1)}

    yield row_of(who, "export", source)
    for reader in (who, *readers):
        home = place / "imported"
        row = row_of(reader, "import", home)
        folder = home / "models/m/v1"
        names = [path.relative_to(model.path).as_posix() for path in Path(model.path).rglob("*") if path.is_file()]
        equal, _, _ = filecmp.cmpfiles(model.path, folder, names, shallow=False)
        yield row | {"files_equal": len(equal) == len(names)}
        shutil.rmtree(home)
    shutil.rmtree(place)


def step(
    place: Path, who: str, what: str, home: Path, at: str, environment: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Run one export or import and measure it; `at` is an archive's path, or its URL."""
    python, script = WHO[who]
    (place / "tmp").mkdir(exist_ok=True)
    environ = os.environ | {"BENTOML_HOME": str(home), "TMPDIR": str(place / "tmp"), "BENTOML_DO_NOT_TRACK": "True"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    child = subprocess.Popen([python, "-c", script, what, "m:v1", at], env=environ | environment)
    most = sampled(child, place)
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if child.returncode:
        raise SystemExit(f"{who}: {what} of {at} failed")
    return {
        "arm": who, "step": what, "seconds": round(seconds, 2),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "extra_mib": max(most - occupied(place), 0) >> 20,
    }  # fmt: skip


def sampled(child: subprocess.Popen[bytes], place: Path) -> int:
    """Wait for a process; the most bytes seen in the folder meanwhile."""
    most, done = 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not done.wait(0.1):
            most = max(most, occupied(place))

    watcher = threading.Thread(target=look)
    watcher.start()
    child.wait()
    done.set()
    watcher.join()
    return most


def occupied(folder: Path) -> int:
    """Bytes on disk below a folder."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except OSError:
            continue
    return total


if __name__ == "__main__":
    main()
