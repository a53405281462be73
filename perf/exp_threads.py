"""How many threads shall receive? Where the source gives all it has, and where it gives less than one thread can take.

More threads are worth having where one cannot keep up; where one can, they must cost no CPU (docs/adr/0018). The native
wire starts as many as there are CPUs; here that number is capped. "0" is the wire in Python, for comparison.

    python -m perf.exp_threads --size 1GiB --rounds 5 --folder /dev/shm
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from perf.experiment import Setting, sweep
from perf.model import Shape, parse_size

WEATHERS: dict[str, dict[str, str]] = {"near": {}, "300 MB/s in all": {"rate-total": "300e6"}}


def threads(count: int) -> Setting:
    """At most so many threads; 0: the wire in Python."""
    if count == 0:
        return Setting("0", {}, {}, native="off")
    return Setting(str(count), {}, {"bentosync.wire.native:THREADS_MAX": count})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default=1 << 30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--values", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--weathers", nargs="+", choices=list(WEATHERS), default=list(WEATHERS))
    parser.add_argument("--schemes", nargs="+", choices=["http", "https"], default=["http", "https"])
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    settings = [threads(value) for value in arguments.values]
    shape = Shape(arguments.size, shards=2, small=0)
    for scheme in arguments.schemes:
        weathers = {f"{scheme}, {name}": WEATHERS[name] for name in arguments.weathers}
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            best = sweep(
                Path(folder), shape, "pull", settings, rounds=arguments.rounds, weathers=weathers, tls=scheme == "https"
            )
        for weather, value in best.items():
            print(f"{weather}: fastest with {value} threads")


if __name__ == "__main__":
    main()
