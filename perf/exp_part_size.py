"""How much should one request carry? Ranges of a pull and parts of a push, near the store and 20 ms away.

Small requests pay a round trip each, which more connections hide; large ones leave a straggler at the end and take
more memory on a push. So: the smallest size that cannot be told from the best.

    python -m perf.exp_part_size --size 1GiB --rounds 5
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from perf.experiment import Setting, sweep
from perf.model import Shape, parse_size

MIB = 1 << 20
WEATHERS: dict[str, dict[str, str]] = {"near": {}, "20 ms away": {"round-trip": "0.02"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default=1 << 30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--values", nargs="+", type=int, default=[8, 16, 32, 64, 128], help="MiB")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    shape = Shape(arguments.size, shards=1, small=0)
    ranges = [Setting(f"{n} MiB", {"range_bytes": n * MIB}, {}) for n in arguments.values]
    parts = [
        Setting(f"{n} MiB", {}, {"bentosync.transfer.parts:PART_BYTES_MIN": n * MIB}) for n in arguments.values if n > 5
    ]
    for what, way, settings in (("a range", "pull", ranges), ("a part", "push", parts)):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            best = sweep(Path(folder), shape, way, settings, rounds=arguments.rounds, weathers=WEATHERS)  # type: ignore[arg-type]
        for weather, value in best.items():
            print(f"{weather}: fastest with {what} of {value}")


if __name__ == "__main__":
    main()
