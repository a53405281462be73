"""How many files a second: 10,000 files of 4 KiB, pulled and pushed.

python -m perf.bench_small --pairs 7 --out perf/results/small.jsonl
"""

from __future__ import annotations

from perf.model import Shape
from perf.side_by_side import Bench, main

BENCH = Bench("small", Shape(0, shards=0, small=10_000), ("pull", "push"), ("rclone", "s5cmd", "obstore"))

if __name__ == "__main__":
    main(BENCH, __doc__)
