"""What does it take to push a model: the first time (nothing is known of it), and again with its digests remembered?

Everybody sends the same files from the page cache to a null server that drops them; before the clock starts, every arm
has pushed once to a server that keeps them, and those bytes were compared with the source. Over plain http the AWS
SDKs sign a SHA-256 of the body and over TLS they do not: compare over TLS.

    python -m perf.bench_push --pairs 7 --out perf/results/push.jsonl
"""

from __future__ import annotations

from perf.model import Shape
from perf.side_by_side import Bench, main

BENCH = Bench(
    "push",
    Shape(2 << 30, shards=2, small=20),
    ("push",),
    ("rclone", "s5cmd", "obstore", "s3torchconnector", "aiobotocore", "boto3", "awscli"),
)

if __name__ == "__main__":
    main(BENCH, __doc__)
