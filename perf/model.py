"""Makes the model that the benchmarks move, in a BentoML home of its own. Runs as a process, so that the harness that
measures others stays small (see `process.run`).

    python -m perf.model HOME --size 2GiB --shards 2 --small 20 --small-bytes 4096
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TAG = "m:v1"
_UNITS = {"KiB": 10, "MiB": 20, "GiB": 30}


@dataclass(frozen=True)
class Shape:
    """`size` bytes of tensors in `shards` files (none if 0), and `small` files of `small_bytes` each.

    Those of a `hollow` one take a 256th of their size on the disk (`perf.hollow`).
    """

    size: int
    shards: int
    small: int
    small_bytes: int = 4096
    hollow: bool = False

    @property
    def payload_bytes(self) -> int:
        """What the files hold, but for headers and the few files every model has."""
        return self.size * bool(self.shards) + self.small * self.small_bytes


def parse_size(text: str) -> int:
    """Bytes of "2GiB", "512MiB" or "4096"."""
    for unit, power in _UNITS.items():
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * (1 << power))
    return int(text)


def make(home: Path, shape: Shape) -> Path:
    """Write the model below `home`; its folder."""
    numbers = {"size": shape.size, "shards": shape.shards, "small": shape.small, "small-bytes": shape.small_bytes}
    options = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    options += ["--hollow"] if shape.hollow else []
    subprocess.run([sys.executable, "-m", "perf.model", str(home), *options], check=True, cwd=Path(__file__).parents[1])
    name, version = TAG.split(":")
    return home / "models" / name / version


def main() -> None:
    from random import Random

    from bentosync.cli.synthetic import write_model
    from bentosync.store.store import Store
    from perf import hollow

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--size", type=parse_size, default=2 << 30)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--small", type=int, default=20)
    parser.add_argument("--small-bytes", type=int, default=4096)
    parser.add_argument("--hollow", action="store_true")
    arguments = parser.parse_args()
    with Store(arguments.home).create(TAG) as model:
        folder = Path(model.path)
        if arguments.shards and arguments.hollow:
            hollow.write(folder, size=arguments.size, shards=arguments.shards)
        elif arguments.shards:
            write_model(folder, size_bytes=arguments.size, shards=arguments.shards)
        for number in range(arguments.small):
            path = folder / f"small-{number // 100:03d}" / f"{number:05d}.bin"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(Random(number).randbytes(arguments.small_bytes))


if __name__ == "__main__":
    main()
