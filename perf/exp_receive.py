"""What does a gibibyte cost the threads that receive it, and does it matter how many there are?

The compiled core alone, into memory: no digest, no file, no start of an interpreter. The null server gives all it has,
or less than one thread can take; more threads must cost nothing then (docs/adr/0018). CPU is that of the core's
threads, as the scheduler counts it.

    python -m perf.exp_receive --size 512MiB --rounds 5 --folder /dev/shm
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
from pathlib import Path

from bentosync.settings import TransferSettings
from bentosync.wire.direct import DirectWire
from bentosync.wire.exchange import Request, Wire
from bentosync.wire.late import LateWire
from bentosync.wire.native import NativeWire
from bentosync.wire.pooled import PooledWire
from perf.model import parse_size
from perf.null_server import BUCKET, serve

WEATHERS: dict[str, dict[str, str]] = {
    "near": {}, "400 MB/s in all": {"rate-total": "400e6"}, "100 MB/s in all": {"rate-total": "100e6"}
}  # fmt: skip
_STREAMS = 8
_UNIT_BYTES = 1 << 20


class _Memory:
    """A sink that looks at nothing."""

    def __init__(self) -> None:
        self._memory = memoryview(bytearray(_UNIT_BYTES))

    def buffer(self) -> memoryview:
        return self._memory

    def filled(self, count: int) -> None:
        pass


def thread_seconds(but: set[str]) -> float:
    """CPU seconds of this process's threads, without those named."""
    tasks = Path("/proc/self/task")
    return sum(int((tasks / name / "schedstat").read_text().split()[0]) for name in {*os.listdir(tasks)} - but) / 1e9


async def received(url: str, ca_bundle: str | None, threads: int, size: int) -> float:
    """CPU seconds of the core's threads for `size` bytes over several streams."""
    transfer = TransferSettings()
    behind: Wire = LateWire(lambda: PooledWire(transfer, ca_bundle=ca_bundle))
    direct = DirectWire(transfer, behind=behind, ca_bundle=ca_bundle)
    wire = NativeWire(transfer, behind=direct, ca_bundle=ca_bundle, threads=threads)
    share = size // _STREAMS

    async def stream(number: int) -> None:
        asked = {"Range": f"bytes={number * share}-{(number + 1) * share - 1}"}
        await wire.receive(Request("GET", url, headers=asked), judge=lambda reply: share, sink=_Memory())

    others = {*os.listdir("/proc/self/task")}
    async with asyncio.TaskGroup() as group:
        for number in range(_STREAMS):
            group.create_task(stream(number))
    seconds = thread_seconds(but=others)
    await wire.aclose()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default=512 << 20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--values", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--weathers", nargs="+", choices=list(WEATHERS), default=list(WEATHERS))
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    draw = random.Random(1)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        (Path(folder) / BUCKET).mkdir()
        with (Path(folder) / BUCKET / "object").open("wb") as file:
            for _ in range(arguments.size >> 20):
                file.write(draw.randbytes(1 << 20))
        for weather in arguments.weathers:
            for tls in (False, True):
                taken: dict[int, list[float]] = {value: [] for value in arguments.values}
                with serve(Path(folder), tls=tls, conditions=WEATHERS[weather]) as server:
                    url, bundle = f"{server.endpoint_url}/{BUCKET}/object", str(server.ca_bundle) if tls else None
                    for _ in range(arguments.rounds):
                        for value in draw.sample(arguments.values, len(arguments.values)):
                            seconds = asyncio.run(received(url, bundle, value, arguments.size))
                            taken[value].append(seconds / arguments.size * (1 << 30))
                for value, each in taken.items():
                    row = {"weather": weather, "tls": tls, "threads": value, "runs": len(each),
                           "cpu_s_per_gib": round(statistics.median(each), 3),
                           "min": round(min(each), 3), "max": round(max(each), 3)}  # fmt: skip
                    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
