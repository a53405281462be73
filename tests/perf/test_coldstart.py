"""`perf.bench_coldstart` runs, compares every tensor, and its table and lines say what they should."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    shutil.which("c++") is None, reason="NOT TESTED: no C++ compiler; run scripts/bootstrap"
)


def test_a_cold_start_is_measured_at_a_shaped_bandwidth_stage_by_stage(tmp_path: Path) -> None:
    out = tmp_path / "lines.jsonl"
    words = ["--size", "2MiB", "--pairs", "1", "--rates", "0.5", "--arms", "bentosync streamed", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "perf.bench_coldstart", *words], cwd=ROOT, capture_output=True, text=True, timeout=110,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    machine, row = map(json.loads, out.read_text().splitlines())
    assert machine["machine"]["cores"] >= 1
    stages = row["stages"]
    order = ["resolve", "plan", "first byte", "first tensor", "last tensor", "published"]
    assert [stages[name] for name in order] == sorted(stages[name] for name in order)
    assert row["server_bytes"] >= row["bytes"]
    assert "bytes / bandwidth" in done.stdout
