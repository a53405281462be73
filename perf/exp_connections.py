"""How many requests in flight? Near the store, 20 ms away, at 60 MB/s a connection, where more than 8 are refused.

More than the source can feed cost CPU and buy nothing; fewer leave a far or slow store idle. A fixed number is right in
one weather at most: what this sweep finds best is what the controller's total is compared with (goal: 1.3 times).

    python -m perf.exp_connections --size 1GiB --rounds 3
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from perf.experiment import Setting, parsed, sweep
from perf.model import Shape

WEATHERS: dict[str, dict[str, str]] = {
    "near": {},
    "20 ms away": {"round-trip": "0.02"},
    "60 MB/s a connection": {"rate-connection": "60e6"},
    "503 above 8": {"slow-down-above": "8"},
    "30 % 503": {"refuse-share": "0.3"},
    "one stalled stream": {"stall-nth": "5"},
}


def fixed(level: int) -> Setting:
    """So many requests in flight from start to end, whatever they bring."""
    return Setting(str(level), {"jobs": level, "seeking": False}, {})


def main() -> None:
    arguments = parsed(__doc__, list(WEATHERS))
    settings = [fixed(value) for value in arguments.values]
    weathers = {name: WEATHERS[name] for name in arguments.weathers}
    shape = Shape(arguments.size, shards=2, small=0)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        best = sweep(Path(folder), shape, arguments.way, settings, rounds=arguments.rounds, weathers=weathers)
    for weather, value in best.items():
        print(f"{weather}: fastest with {value} in flight")


if __name__ == "__main__":
    main()
