"""How fast do safetensors files become tensors, and who does it faster?

Every measurement is a fresh process, in shuffled order; imports and the CUDA context are outside the clock; so is the
check that every tensor has the right bytes. The clock stops when the last tensor is usable (after a device
synchronize). `touch` arms read one byte of every page before the clock stops: that is what a mapped load puts off.

    python -m perf.bench_load --quick                       # under a minute, CPU
    python -m perf.bench_load --device cuda --scale 1       # L 20 GB, M 16 GB with 19,000 tensors, S 0.5 GB
    python -m perf.bench_load --scale 0.1 --state cold --out results.jsonl

Writes one JSON line a run, then a table: median and range of GB/s, CPU seconds per GiB, private memory (RssAnon) grown,
pinned and device peaks where the loader tells. Peers that are not installed are left out and named.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

_CHUNK_BYTES = 8 << 20


@dataclass(frozen=True)
class Checkpoint:
    """`shards` files of `shard_bytes` each, with `tensors` tensors in all."""

    name: str
    shards: int
    shard_bytes: int
    tensors: int


def checkpoints(scale: float) -> list[Checkpoint]:
    """L: few large tensors. M: as many as a mixture of experts has. S: fixed costs show."""
    return [
        Checkpoint("L", 4, int(5e9 * scale), 300),
        Checkpoint("M", 4, int(4e9 * scale), 19_000),
        Checkpoint("S", 1, int(5e8 * scale), 60),
    ]


# --- arms: files -> {name: tensor}


def ours(files: Sequence[Path], device: str, **options: Any) -> tuple[dict[str, Any], Any]:
    from bentosync.loader.load import load_to_device

    loaded = load_to_device(files[0].parent, device, strict=True, **options)
    return loaded, loaded.report


def load_file(files: Sequence[Path], device: str, **options: Any) -> tuple[dict[str, Any], Any]:
    from safetensors.torch import load_file

    tensors: dict[str, Any] = {}
    for file in files:
        tensors.update(load_file(file, device=device, **options))
    return tensors, None


def safe_open(files: Sequence[Path], device: str) -> tuple[dict[str, Any], Any]:
    from safetensors import safe_open

    tensors: dict[str, Any] = {}
    for path in files:
        with safe_open(path, framework="pt", device=device) as file:
            tensors.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return tensors, None


def prefetch(files: Sequence[Path], device: str) -> tuple[dict[str, Any], Any]:
    """safetensors 0.9: all shards in flight."""
    from contextlib import ExitStack

    from safetensors import safe_open

    tensors: dict[str, Any] = {}
    with ExitStack() as stack:
        opened = [stack.enter_context(safe_open(f, framework="pt", device=device)) for f in files]
        for loader in [stack.enter_context(file.prefetch(threads=8)) for file in opened]:
            tensors.update(loader)
    return tensors, None


def instanttensor(files: Sequence[Path], device: str) -> tuple[dict[str, Any], Any]:
    import instanttensor

    with instanttensor.safe_open([str(f) for f in files], framework="pt", device=0) as file:
        return dict(file.tensors()), None


def fastsafetensors(files: Sequence[Path], device: str) -> tuple[dict[str, Any], Any]:
    from fastsafetensors import fastsafe_open

    with fastsafe_open([str(f) for f in files], framework="pt", device=device, nogds=True) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, None  # noqa: SIM118


Arm = Callable[[Sequence[Path], str], tuple[dict[str, Any], Any]]

CPU_ARMS: dict[str, Arm] = {
    "bentosync mapped": lambda files, device: ours(files, device),
    "bentosync staged": lambda files, device: ours(files, device, staging="force"),
    "safetensors load_file": load_file,
    "safetensors load_file pread": lambda files, device: load_file(files, device, backend="pread"),
    "safetensors safe_open": safe_open,
}

CUDA_ARMS: dict[str, Arm] = {
    "bentosync": lambda files, device: ours(files, device),
    "safetensors load_file": load_file,
    "safetensors safe_open": safe_open,
    "safetensors prefetch": prefetch,
    "instanttensor": instanttensor,
    "fastsafetensors": fastsafetensors,
}


def arms(device: str) -> dict[str, Arm]:
    return CPU_ARMS if device == "cpu" else CUDA_ARMS


# --- making checkpoints


def generate(checkpoint: Checkpoint, folder: Path) -> list[Path]:
    """Random bytes that differ at every position of every file; no zeros, nothing sparse."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for shard in range(checkpoint.shards):
        path = folder / f"model-{shard + 1:05}-of-{checkpoint.shards:05}.safetensors"
        per_shard = checkpoint.tensors // checkpoint.shards
        width = checkpoint.shard_bytes // per_shard // 2 // 64 * 64
        header = {
            f"layers.{shard}.{n}.weight": {
                "dtype": "BF16",
                "shape": [width // 64, 64],
                "data_offsets": [n * width * 2, (n + 1) * width * 2],
            }
            for n in range(per_shard)
        }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        left = per_shard * width * 2
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for chunk in range(-(-left // _CHUNK_BYTES)):
                size = min(_CHUNK_BYTES, left - chunk * _CHUNK_BYTES)
                file.write(np.random.default_rng((shard, chunk)).bytes(size))
            file.flush()
            os.fsync(file.fileno())
        files.append(path)
    return files


def digest_of_files(files: Iterable[Path]) -> str:
    """What every arm's tensors must hash to, computed without any loader."""
    entries = []
    for path in files:
        data = np.memmap(path, dtype=np.uint8, mode="r")
        start = 8 + int.from_bytes(data[:8].tobytes(), "little")
        for name, spec in json.loads(data[8:start].tobytes()).items():
            begin, end = spec["data_offsets"]
            entries.append(name + xxhash.xxh3_64_hexdigest(data[start + begin : start + end]))
    return xxhash.xxh3_64_hexdigest("".join(sorted(entries)).encode())


def digest_of_tensors(tensors: dict[str, Any]) -> str:
    import torch

    def digest(tensor: Any) -> str:
        return xxhash.xxh3_64_hexdigest(tensor.cpu().contiguous().view(torch.uint8).numpy())

    return xxhash.xxh3_64_hexdigest("".join(sorted(name + digest(t) for name, t in tensors.items())).encode())


def set_state(files: Iterable[Path], state: str) -> None:
    for path in files:
        with path.open("rb", buffering=0) as file:
            if state == "cold":
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while file.read(_CHUNK_BYTES):
                    pass


# --- one measurement, in a process of its own


def child(arm: str, device: str, touch: bool, files: Sequence[Path]) -> dict[str, Any]:
    import torch

    load = arms(device)[arm]
    __import__("safetensors.torch")
    if arm.startswith("bentosync"):
        __import__("bentosync.loader.load")
    if device != "cpu":
        torch.zeros(1, device=device)
        torch.cuda.synchronize()
    gc.collect()  # the collection that importing torch has made due would land on whichever loader allocates first
    anon, usage = _status("RssAnon"), resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    tensors, report = load(files, device)
    if touch:
        for tensor in tensors.values():
            tensor.view(torch.uint8).reshape(-1)[::4096].sum()
    if device != "cpu":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime,
        "rss_anon_bytes": _status("RssAnon") - anon,
        "pinned_bytes": getattr(report, "pinned_bytes", None),
        "device_peak_bytes": torch.cuda.max_memory_allocated() if device != "cpu" else None,
        "path": getattr(report, "path", None),
        "bound_by": getattr(report, "bound_by", None),
    }
    return result | {"digest": digest_of_tensors(tensors)}


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) << 10
    return 0


# --- all of them


def machine(device: str) -> dict[str, Any]:
    import torch

    facts: dict[str, Any] = {
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    for name in ("safetensors", "instanttensor", "fastsafetensors"):
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = None
    if device != "cpu":
        facts["gpu"] = torch.cuda.get_device_name()
        facts["h2d_gb_per_s"] = h2d_ceiling()
    return facts


def h2d_ceiling() -> float:
    """The most this machine's link gives: one pinned 1 GiB buffer, best of ten copies."""
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


def measure(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    made = [c for c in checkpoints(arguments.scale) if c.name in arguments.sets]
    files = {c.name: generate(c, folder / c.name) for c in made}
    expected = {name: digest_of_files(paths) for name, paths in files.items()}
    touches = [False, True] if arguments.device == "cpu" else [False]
    jobs = [
        (name, arm, touch)
        for name in files
        for arm in arms(arguments.device)
        for touch in touches
        for _ in range(arguments.reps)
        if not (touch and ("staged" in arm or "pread" in arm))  # nothing is put off there
    ]
    random.Random(arguments.seed).shuffle(jobs)
    results: list[dict[str, Any]] = []
    missing: set[str] = set()
    for name, arm, touch in jobs:
        if arm in missing:
            continue
        set_state(files[name], arguments.state)
        command = [sys.executable, "-m", "perf.bench_load", "--child", arm, "--device", arguments.device]
        command += ["--touch"] * touch + ["--files", *map(str, files[name])]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            if "ModuleNotFoundError" not in run.stderr and "AttributeError" not in run.stderr:
                raise SystemExit(f"{arm} failed:\n{run.stderr}")
            missing.add(arm)
            continue
        result = json.loads(run.stdout)
        if result.pop("digest") != expected[name]:
            raise SystemExit(f"{arm} gave wrong bytes for {name}")
        size = sum(path.stat().st_size for path in files[name])
        results.append({"set": name, "arm": arm, "touch": touch, "state": arguments.state, "bytes": size} | result)
        emit(results[-1], arguments.out)
    for arm in sorted(missing):
        emit({"arm": arm, "missing": True}, arguments.out)
    return results


def emit(record: dict[str, Any], out: Path | None) -> None:
    line = json.dumps(record)
    if out is None:
        print(line)
    else:
        with out.open("a") as file:
            file.write(line + "\n")


def table(results: Sequence[dict[str, Any]]) -> str:
    """Fastest first within each set."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        arm = result["arm"] + (" + touch" if result["touch"] else "")
        groups.setdefault((result["set"], arm), []).append(result)
    lines = [f"{'set':4}{'arm':36}{'seconds':>9}{'GB/s':>8}{'min':>8}{'max':>8}{'CPU-s/GiB':>11}{'anon MiB':>10}"]
    for name in dict.fromkeys(key[0] for key in groups):
        rows = []
        for (group, arm), runs in groups.items():
            if group != name:
                continue
            rates = [run["bytes"] / run["seconds"] / 1e9 for run in runs]
            seconds = statistics.median(run["seconds"] for run in runs)
            cpu = statistics.median(run["cpu_seconds"] / run["bytes"] * (1 << 30) for run in runs)
            anon = statistics.median(run["rss_anon_bytes"] for run in runs) / (1 << 20)
            rows.append((seconds, arm, statistics.median(rates), min(rates), max(rates), cpu, anon))
        for seconds, arm, rate, low, high, cpu, anon in sorted(rows):
            lines.append(f"{name:4}{arm:36}{seconds:9.3f}{rate:8.2f}{low:8.2f}{high:8.2f}{cpu:11.3f}{anon:10.0f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="L and S at a hundredth of their size, one run each")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--scale", type=float, default=0.05, help="1 is L 20 GB, M 16 GB, S 0.5 GB")
    parser.add_argument("--sets", default="LMS")
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--state", choices=["warm", "cold"], default="warm")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where checkpoints are made; a temporary folder by default")
    parser.add_argument("--out", type=Path, help="JSON lines go here instead of stdout")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--touch", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--files", nargs="*", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(arguments.child, arguments.device, arguments.touch, arguments.files)))
        return
    if arguments.quick:
        arguments.scale, arguments.reps, arguments.sets = 0.01, 1, "LS"
    emit({"machine": machine(arguments.device), "scale": arguments.scale, "seed": arguments.seed}, arguments.out)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(table(measure(arguments, Path(folder))))


if __name__ == "__main__":
    main()
