"""What does it take to pull a model, and who takes less? 2 GiB in two shards and 20 small files, http and TLS.

Everybody fetches the same objects from the null server to a fresh folder; see `perf/README.md`.

    python -m perf.bench_pull --pairs 7 --out perf/results/pull.jsonl
    python -m perf.bench_pull --size 64MiB --pairs 2 --rivals rclone          # a quick look
"""

from __future__ import annotations

from perf.model import Shape
from perf.side_by_side import Bench, main

BENCH = Bench(
    "pull",
    Shape(2 << 30, shards=2, small=20),
    ("pull",),
    ("rclone", "s5cmd", "obstore", "s3torchconnector", "aiobotocore", "boto3", "awscli"),
)

if __name__ == "__main__":
    main(BENCH, __doc__)
