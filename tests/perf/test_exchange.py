"""The benchmark of export and import runs, in a tiny size, and its archives are read by both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests import real_bentoml

ROOT = Path(__file__).parents[2]


def test_export_and_import_are_measured_beside_bentoml(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = [
        sys.executable, "-m", "perf.bench_exchange", "--mib", "2", "--stock-xz-mib", "0", "--formats", "bentomodel",
        "--dir", str(tmp_path), "--out", str(out),
    ]  # fmt: skip
    environ = {**os.environ, "BENTOSYNC_TEST_BENTOML_PYTHON": real_bentoml.python()}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    first, *rows = (json.loads(line) for line in out.read_text().splitlines())
    assert {"cpu", "cores", "file_system"} <= set(first["machine"])
    assert [(row["arm"], row["step"]) for row in rows] == [
        ("bentosync", "export"), ("bentosync", "import"), ("bentoml", "import"),
    ]  # fmt: skip
    assert all(row["files_equal"] for row in rows if row["step"] == "import")
    assert all(row["cpu_seconds"] > 0 and row["archive_mib"] >= 2 for row in rows)
