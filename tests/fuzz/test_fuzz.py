"""No bytes make a parser do anything but parse or refuse: a few seconds of coverage-guided search for each."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS
from tests.tally import LONG, Count, skip_or_fail

ROOT = Path(__file__).parents[2]
SECONDS = 3
INPUT_BYTES_MAX = 1 << 14


@pytest.mark.parametrize("name", TARGETS)
def test_what_starts_the_fuzzer_passes(name: str) -> None:
    for data in TARGETS[name].corpus:
        TARGETS[name].check(data)


@pytest.mark.timeout(120 * LONG)
@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_do_more_than_parse_or_be_refused(name: str, tmp_path: Path, seed: int, count: Count) -> None:
    if importlib.util.find_spec("atheris") is None:
        skip_or_fail("atheris is not installed: pip install -e .[test]")
    began = time.monotonic()
    options = [f"-max_total_time={SECONDS * LONG}", f"-seed={seed}", f"-max_len={INPUT_BYTES_MAX}", "-timeout=20"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", name, tmp_path / "corpus", *options, f"-artifact_prefix={tmp_path}/"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
    )
    found = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]
    assert done.returncode == 0, f"{found!r}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    runs = re.findall(r"Done (\d+) runs", done.stderr)
    assert runs
    count(f"fuzzing, {name}", runs=int(runs[-1]), seed=seed, seconds=time.monotonic() - began)
