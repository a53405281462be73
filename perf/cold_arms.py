"""From a bucket to tensors in memory, once, by one loader: what `bench_coldstart` runs as a process of its own.

Prints one line of JSON: seconds from the call to each stage, CPU until the last tensor and until the end, memory, and a
digest of every tensor, taken outside the clock. Imports are outside the clock too. Tensors that are views of a mapping
are touched, one byte of every page, before the clock stops: a mapping has put off what the others did.

    python -m perf.cold_arms "bentosync streamed" PREFIX FOLDER       # in the environment that bench_coldstart makes
"""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perf.model import TAG
from perf.null_server import BUCKET


@dataclass
class Run:
    """One load: the tensors, and when (seconds since `began`) which stage was reached."""

    prefix: str
    folder: Path
    began: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    tensors: dict[str, Any] = field(default_factory=dict)
    mapped: bool = False
    after: Callable[[], None] = lambda: None

    def reach(self, stage: str) -> None:
        """Note the first time."""
        self.stages.setdefault(stage, time.perf_counter() - self.began)


def bentosync(run: Run, **options: Any) -> None:
    from bentosync.loader.load import iter_tensors

    with iter_tensors(TAG, os.environ["PERF_DEVICE"], **options) as stream:
        for name, tensor in stream:
            run.reach("first tensor")
            run.tensors[name] = tensor
    report = stream.report
    assert report is not None
    if report.path in ("mapped", "network-mapped"):
        _touch(run)
    if report.timeline is not None:
        timeline = report.timeline
        run.stages |= {"resolve": timeline.resolved, "plan": timeline.planned, "first byte": timeline.first_byte}

    def publish() -> None:
        if report.cache is not None and report.cache.wait(120) == "published":
            run.reach("published")

    run.after = publish


def bentosync_local(run: Run) -> None:
    """What a second start must be as fast as: the same files, as a folder."""
    from bentosync.loader.load import load_to_device

    run.tensors.update(load_to_device(Path(os.environ["PERF_FILES"]), os.environ["PERF_DEVICE"]))
    _touch(run)


def bentosync_rows(run: Run) -> None:
    """One rank of eight: its rows of every matrix."""
    from bentosync.loader.load import load_to_device, open_tensors

    with open_tensors(Path(os.environ["PERF_FILES"])) as file:
        rows = {name: file.get_slice(name).get_shape()[0] for name in file.keys()}  # noqa: SIM118
        plan = {name: slice(count // 8 * 3, count // 8 * 4) for name, count in rows.items()}
        run.began = time.perf_counter()
        run.tensors.update(load_to_device(TAG, os.environ["PERF_DEVICE"], plan=plan, cache="none"))
        for name, tensor in run.tensors.items():
            assert tensor.equal(file.get_tensor(name)[plan[name]]), name


def bentosync_first(run: Run, ref: str) -> None:
    """Until the first tensor."""
    from bentosync.loader.load import iter_tensors

    with iter_tensors(ref, os.environ["PERF_DEVICE"]) as stream:
        next(stream)
        run.reach("first tensor")


def runai(run: Run) -> None:
    """NVIDIA Run:ai Model Streamer over S3, as its documentation shows; views are kept, as `owned` tensors."""
    from runai_model_streamer import SafetensorsStreamer

    names = sorted(path.name for path in Path(os.environ["PERF_FILES"]).glob("*.safetensors"))
    urls = [f"s3://{BUCKET}/{run.prefix}{name}" for name in names]
    with SafetensorsStreamer() as streamer:
        streamer.stream_files(urls, device=os.environ["PERF_DEVICE"])
        for name, tensor in streamer.get_tensors():
            run.reach("first tensor")
            run.tensors[name] = tensor


def s5cmd(run: Run) -> None:
    """Copy with s5cmd, then safetensors' own load_file."""
    from safetensors.torch import load_file

    program = shutil.which("s5cmd", path=str(Path(sys.executable).parent)) or "s5cmd"
    copy = [program, "--endpoint-url", os.environ["AWS_ENDPOINT_URL"], "--log", "error", "cp"]
    subprocess.run([*copy, f"s3://{BUCKET}/{run.prefix}*", f"{run.folder}/"], check=True)
    run.reach("copied")
    for path in sorted(run.folder.glob("*.safetensors")):
        run.tensors.update(load_file(path, device=os.environ["PERF_DEVICE"]))
        run.reach("first tensor")
    if os.environ["PERF_DEVICE"] == "cpu":
        _touch(run)


ARMS: dict[str, tuple[Callable[[Run], None], str]] = {
    "bentosync streamed": (lambda run: bentosync(run), "bentosync.loader.load"),
    "bentosync streamed, no cache": (lambda run: bentosync(run, cache="none"), "bentosync.loader.load"),
    "bentosync pull, then load": (lambda run: bentosync(run, cache="first"), "bentosync.loader.load"),
    "bentosync second start": (lambda run: bentosync(run), "bentosync.loader.load"),
    "bentosync local folder": (bentosync_local, "bentosync.loader.load"),
    "bentosync rows": (bentosync_rows, "bentosync.loader.load"),
    "bentosync first tensor": (lambda run: bentosync_first(run, TAG), "bentosync.loader.load"),
    "bentosync first tensor by name": (
        lambda run: bentosync_first(run, TAG.partition(":")[0]),
        "bentosync.loader.load",
    ),
    "runai streamer": (runai, "runai_model_streamer"),
    "s5cmd, then load_file": (s5cmd, "safetensors.torch"),
}
"""What runs, and the module that is imported outside the clock."""


def digest(tensors: Mapping[str, Any]) -> str:
    """Of all names and all bytes."""
    import torch
    import xxhash

    whole = xxhash.xxh3_64()
    for name, tensor in sorted(tensors.items()):
        whole.update(name.encode())
        whole.update(tensor.cpu().contiguous().view(torch.uint8).reshape(-1).numpy())
    return whole.hexdigest()


def digest_of_files(folder: Path) -> str:
    """What every arm's tensors must hash to; read by safetensors' own loader."""
    from safetensors.torch import load_file

    tensors: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(path))
    return digest(tensors)


def main() -> None:
    if sys.argv[1] == "--digest":
        print(digest_of_files(Path(sys.argv[2])))
        return
    arm, prefix, folder = sys.argv[1:4]
    load, module = ARMS[arm]
    import torch

    __import__(module)
    if os.environ["PERF_DEVICE"] != "cpu":
        torch.zeros(1, device=os.environ["PERF_DEVICE"])
    gc.collect()
    run = Run(prefix, Path(folder))
    _await_go()
    anon, cpu = _anonymous(), _cpu_seconds()
    watch = _Watch() if "PERF_WATCH" in os.environ else None
    run.began = time.perf_counter()
    load(run)
    if os.environ["PERF_DEVICE"] != "cpu":
        torch.cuda.synchronize()
    run.reach("last tensor")
    loaded_cpu = _cpu_seconds() - cpu
    size = sum(tensor.nbytes for tensor in run.tensors.values())
    grown = _anonymous() - anon
    run.after()
    total_cpu = _cpu_seconds() - cpu
    # Tensors that are views of files, or lie on a device, are no memory of this process's own.
    own = 0 if run.mapped or os.environ["PERF_DEVICE"] != "cpu" else size
    result = {
        "stages": run.stages,
        "seconds": run.stages["last tensor"],
        "cpu_seconds": loaded_cpu,
        "cpu_seconds_in_all": total_cpu,
        "tensor_bytes": size,
        "bytes_beyond_tensors": grown - own,
        "digest": digest(run.tensors),
    }
    if watch is not None:
        result["peak_bytes_beyond_tensors"] = watch.end() - anon - own
    print(json.dumps(result))


def _await_go() -> None:
    """Where several begin together: say that the imports are done, and wait for the file."""
    go = os.environ.get("PERF_GO")
    if go is not None:
        print("ready", flush=True)
        while not Path(go).exists():
            time.sleep(0.002)


class _Watch:
    """The most anonymous memory of this process. It takes CPU, so runs that are timed do without."""

    def __init__(self) -> None:
        self._most = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.002):
            self._most = max(self._most, _anonymous())

    def end(self) -> int:
        """In bytes."""
        self._over.set()
        self._thread.join()
        return self._most


def _touch(run: Run) -> None:
    import torch

    run.mapped = True
    for tensor in run.tensors.values():
        tensor.view(torch.uint8).reshape(-1)[::4096].sum()


def _cpu_seconds() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _anonymous() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    main()
