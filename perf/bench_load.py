"""How fast do safetensors files become tensors, and who does it faster?

Every measurement is a fresh process, in shuffled order. Imports and the CUDA context are outside the clock and told
apart; so is the check that every tensor has the right bytes, made once of each loader and setting after the loader is
closed and garbage collected. The clock stops when the last tensor is usable (after a device synchronize). `touch` rows
read one byte of every page before the clock stops: that is what a mapped load puts off.

First every loader is tried twice with each of its settings (`perf.loaders`); the rows are its defaults and, where
another was faster, its best, and what the others took stands below the table, as does who failed, hung or gave wrong
bytes. Peaks of memory come from a run of their own, which is watched.

    python -m perf.bench_load --quick                       # under a minute, CPU
    python -m perf.bench_load --goals --pairs 7             # every row of the goals on the CPU, under 10 minutes
    python -m perf.bench_load --install --device cuda --scale 1     # L 20 GB, M 16 GB of 19,000 tensors, S 0.5 GB
    python -m perf.bench_load --scale 0.1 --state cold --out results.jsonl --chart results.svg

Writes one JSON line a run and ends with a table. Loaders that are not installed or do not know the device are named.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from perf import load_goals, load_table, loaders
from perf.checkpoints import checkpoints, digest_of_files, digest_of_tensors, generate, set_state
from perf.process import file_system, machine

_ROOT = Path(__file__).parents[1]
_WATCH_SECONDS = 0.002
_DISK_SAMPLE_THREADS = 8
_SWEEP_RUNS = 2
_RUN_SECONDS_MAX = 120
"""A rival that hangs is a failure of his, not the end of the comparison."""


# --- one measurement, in a process of its own


def child(job: dict[str, Any]) -> dict[str, Any]:
    """What one load took. `job`: arm, device, touch, watch, check, settings, files."""
    import torch

    arm = next(arm for arm in loaders.ARMS if arm.name == job["arm"])
    device, files = job["device"], [Path(name) for name in job["files"]]
    options = {name: value for name, value in job["settings"].items() if not name.isupper()}
    for module in arm.modules:
        __import__(module)
    if device != "cpu":
        torch.zeros(1, device=device)
        torch.cuda.synchronize()
    gc.collect()  # the collection that importing torch has made due would land on whichever loader allocates first
    started = time.clock_gettime(time.CLOCK_BOOTTIME) - _born()
    with _watched(device, job["watch"]) as peaks:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        began = time.perf_counter()
        tensors, report = arm.load(files, device, **options)
        if job["touch"]:
            for tensor in tensors.values():
                tensor.view(torch.uint8).reshape(-1)[::4096].sum()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF)
    gc.collect()
    result = {
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime,
        "start_seconds": started,
        "digest": digest_of_tensors(tensors) if tensors and job["check"] else None,
    }
    if report is not None:
        result |= {"path": report.path, "bound_by": report.bound_by, "stages": asdict(report.stages)}
        result |= {"pinned_bytes": report.pinned_bytes, "device_peak_bytes": report.device_peak_bytes}
    if tensors and device != "cpu":
        tensors = report = None
        gc.collect()
        began = time.perf_counter()
        tensors, _ = arm.load(files, device, **options)
        torch.cuda.synchronize()
        result["again_seconds"] = time.perf_counter() - began
    return result | peaks


@contextmanager
def _watched(device: str, watch: bool) -> Iterator[dict[str, int]]:
    """How far this process's anonymous and pinned memory and the device's memory grow; nothing unless `watch`."""
    peaks: dict[str, int] = {}
    if not watch:
        yield peaks
        return

    def sample() -> dict[str, int]:
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        seen = {f"{name}_bytes": int(fields[key].split()[0]) << 10 for name, key in
                (("anon", "RssAnon"), ("shmem", "RssShmem"), ("locked", "VmPin"))}  # fmt: skip
        if device != "cpu":
            import torch

            free, total = torch.cuda.mem_get_info()
            seen["device_bytes"] = total - free
        return seen

    first, over = sample(), threading.Event()

    def look() -> None:
        while not over.wait(_WATCH_SECONDS):
            for name, value in sample().items():
                peaks[name] = max(peaks.get(name, 0), value - first[name])

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peaks
    finally:
        over.set()
        watcher.join()


def _born() -> float:
    """When this process was started, in seconds since the machine was."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


# --- what the machine can do


def h2d_ceiling() -> float:
    """GB/s of the link: one pinned 1 GiB buffer, best of ten copies."""
    import torch

    source = torch.empty(1 << 30, dtype=torch.uint8, pin_memory=True)
    target = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    best = float("inf")
    for _ in range(10):
        torch.cuda.synchronize()
        began = time.perf_counter()
        target.copy_(source, non_blocking=True)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return (1 << 30) / best / 1e9


def disk_sample(files: Sequence[Path]) -> float:
    """GB/s of large reads past the page cache, by a few threads: what a cold load can hope for."""
    import mmap

    chunks = [(path, offset) for path in files for offset in range(0, path.stat().st_size, 8 << 20)]

    def read(share: Sequence[tuple[Path, int]]) -> None:
        memory = mmap.mmap(-1, 8 << 20)
        for path, offset in share:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
            os.preadv(fd, [memory], offset)
            os.close(fd)

    count = _DISK_SAMPLE_THREADS
    threads = [threading.Thread(target=read, args=(chunks[n::count],)) for n in range(count)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(path.stat().st_size for path in files) / (time.perf_counter() - began) / 1e9


def facts(device: str, folder: Path) -> dict[str, Any]:
    """About this machine and who is measured."""
    import torch

    known = machine() | {"file_system": file_system(folder), "torch": torch.__version__}
    here = loaders.arms(device.partition(":")[0])
    known["versions"] = sorted({" ".join(arm.requires[:1]) for arm in here if arm.requires and loaders.installed(arm)})
    known["missing"] = sorted({arm.name for arm in here if not loaders.installed(arm)})
    if device != "cpu":
        known |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "h2d_gb_per_s": h2d_ceiling()}
    return known


# --- all of them


class Bench:
    """The checkpoints, and one subprocess after the other."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self._arguments = arguments
        self._files = {
            made.name: generate(made, folder / made.name)
            for made in checkpoints(arguments.scale)
            if made.name in arguments.sets
        }
        self._expected = {name: digest_of_files(paths) for name, paths in self._files.items()}
        self._failed: set[tuple[str, str]] = set()
        self._checked: set[tuple[str, str, str]] = set()
        self._arms = [
            arm
            for arm in loaders.arms(arguments.device.partition(":")[0])
            if loaders.installed(arm) and any(self._wanted(name, arm) for name in self._files)
        ]
        if any(arm.packed for arm in self._arms):
            self._pack()
        self.rows: list[dict[str, Any]] = []

    def run(self) -> None:
        """Sweep, then rounds in shuffled order, then one watched run each."""
        jobs = []
        for name in self._files:
            for arm in self._arms:
                if not self._wanted(name, arm):
                    continue
                touches = [False, True] if arm.lazy and self._arguments.device == "cpu" else [False]
                jobs += [(name, arm, settings, touch) for settings in self._chosen(name, arm) for touch in touches]
        draw = random.Random(self._arguments.seed)
        for number in range(self._arguments.pairs):
            for name, arm, settings, touch in draw.sample(jobs, len(jobs)):
                self._record("timed", name, arm, settings, touch=touch, number=number)
        for name, arm, settings, touch in jobs if not self._arguments.quick else []:
            self._record("watched", name, arm, settings, touch=touch)

    def _wanted(self, name: str, arm: loaders.Arm) -> bool:
        """With `--goals` only what some goal is about."""
        return not self._arguments.goals or load_goals.needed(name, arm.name, self._arguments.device.partition(":")[0])

    def _chosen(self, name: str, arm: loaders.Arm) -> list[loaders.Settings]:
        """The defaults, and the fastest other settings if any beats them, each at its best of a few runs."""
        if len(arm.settings) == 1 or not self._arguments.sweep:
            return [arm.settings[0]]
        tried = [
            (row["seconds"], index)
            for _ in range(_SWEEP_RUNS)
            for index, settings in enumerate(arm.settings)
            if (row := self._record("sweep", name, arm, settings)) is not None
        ]
        best = min(tried, default=(0.0, 0))[1]
        return [arm.settings[0]] if best == 0 else [arm.settings[0], arm.settings[best]]

    def _record(
        self,
        kind: str,
        name: str,
        arm: loaders.Arm,
        settings: loaders.Settings,
        *,
        touch: bool = False,
        number: int = 0,
    ) -> dict[str, Any] | None:
        if (arm.name, repr(settings)) in self._failed:
            return None
        check = (name, arm.name, repr(settings)) not in self._checked
        files = self._files[name]
        state = self._arguments.state
        set_state([loaders.packed(file) for file in files] if arm.packed else files, state)
        job = {"arm": arm.name, "device": self._arguments.device, "touch": touch, "watch": kind == "watched",
               "check": check, "settings": dict(settings), "files": [str(file) for file in files]}  # fmt: skip
        row = {"kind": kind, "set": name, "arm": arm.name, "settings": dict(settings), "touch": touch, "state": state,
               "round": number}  # fmt: skip
        try:
            result = self._process(arm, settings, "--child", json.dumps(job))
            if result["digest"] not in (None, self._expected[name]):
                raise RuntimeError(f"wrong bytes for {name}")
        except RuntimeError as error:
            self._failed.add((arm.name, repr(settings)))
            self._emit(row | {"failed": str(error)[-2000:]})
            return None
        self._checked.add((name, arm.name, repr(settings)))
        row |= {"bytes": sum(path.stat().st_size for path in files)} | result
        self._emit(row)
        return row

    def _process(self, arm: loaders.Arm, settings: loaders.Settings, *command: str) -> dict[str, Any]:
        environment = dict(os.environ) | {name: str(value) for name, value in settings.items() if name.isupper()}
        environment["PYTHONPATH"] = os.pathsep.join([str(arm.folder)] * (arm.folder is not None) + [str(_ROOT)])
        try:
            run = subprocess.run(
                [sys.executable, "-m", "perf.bench_load", *command], env=environment, capture_output=True, text=True,
                check=False, cwd=_ROOT, timeout=_RUN_SECONDS_MAX,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"not done after {_RUN_SECONDS_MAX} s") from error
        if run.returncode:
            raise RuntimeError(run.stderr)
        return dict(json.loads(run.stdout.splitlines()[-1])) if run.stdout else {}

    def _pack(self) -> None:
        arm = next(arm for arm in self._arms if arm.packed)
        for files in self._files.values():
            loaders.packed(files[0]).parent.mkdir(exist_ok=True)
            try:
                self._process(arm, {}, "--pack", json.dumps([str(file) for file in files]))
            except RuntimeError as error:
                self._failed |= {(arm.name, repr(settings)) for settings in arm.settings}
                self._emit({"arm": arm.name, "failed": str(error)[-2000:]})
                return

    def _emit(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        emit(row, self._arguments.out)

    @property
    def files(self) -> dict[str, list[Path]]:
        """By checkpoint."""
        return self._files


def emit(record: dict[str, Any], out: Path | None) -> None:
    line = json.dumps(record)
    if out is None:
        print(line, flush=True)
    else:
        with out.open("a") as file:
            file.write(line + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="S at a hundredth of its size, one run each")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--scale", type=float, default=0.05, help="1 is L 20 GB, M 16 GB, S 0.5 GB")
    parser.add_argument("--sets", default="LMS")
    parser.add_argument("--pairs", type=int, default=5, help="rounds; a goal wants at least 7")
    parser.add_argument("--goals", action="store_true", help="only what the goals are about")
    parser.add_argument("--sweep", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--state", choices=["warm", "cold"], default="warm")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where checkpoints are made; a temporary folder by default")
    parser.add_argument("--install", action="store_true", help="install the rivals first")
    parser.add_argument("--out", type=Path, help="JSON lines go here instead of stdout")
    parser.add_argument("--chart", type=Path, help="an .svg or .png; needs matplotlib")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--pack", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(json.loads(arguments.child))))
        return
    if arguments.pack:
        loaders.pack([Path(name) for name in json.loads(arguments.pack)])
        return
    if arguments.install:
        subprocess.run([sys.executable, "-m", "perf.loaders"], check=False, cwd=_ROOT, stdout=sys.stderr)
    if arguments.quick:
        arguments.scale, arguments.pairs, arguments.sets, arguments.sweep = 0.01, 1, "S", False
    with tempfile.TemporaryDirectory(prefix="bentosync-bench-") as scratch:
        folder = arguments.folder or Path(scratch)
        known = facts(arguments.device, folder)
        emit({"machine": known, "scale": arguments.scale, "seed": arguments.seed}, arguments.out)
        bench = Bench(arguments, folder)
        if arguments.state == "cold":
            for name, files in bench.files.items():
                set_state(files, "cold")
                emit({"set": name, "disk_gb_per_s": disk_sample(files)}, arguments.out)
        bench.run()
    if arguments.chart:
        load_table.chart(bench.rows, arguments.chart)
    print(load_table.table(bench.rows, known))
    print(f"\n### Goals\n\n{load_goals.table(bench.rows, known)}")
    if any("failed" in row and row["arm"].startswith("bentosync") for row in bench.rows):
        sys.exit("a load of ours failed, see above")


if __name__ == "__main__":
    main()
