"""Two to sixteen processes create, pull and delete one version, some are killed: what is left is whole."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sweeps.pool import ROOT
from tests.tally import LONG, Count

ROUNDS = {2: 16, 4: 10, 8: 5, 16: 3}
"""Members to rounds."""


@pytest.mark.timeout(120 * LONG)
def test_a_crowd_on_one_version_leaves_it_whole_or_absent(memory: Path, seed: int, count: Count) -> None:
    rounds = [
        {"seed": seed + turn, "members": members}
        for members, times in ROUNDS.items()
        for turn in range(times * LONG)
    ]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.sweeps.crowd", memory / "crowd"],
        cwd=ROOT,
        input="".join(json.dumps(chosen) + "\n" for chosen in rounds),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(rounds)
    failures = [failure for result in results for failure in result["failures"]]
    assert not failures, "\n".join(failures)
    killed = sum(result["killed"] for result in results)
    members = sum(chosen["members"] for chosen in rounds)
    assert killed
    seconds = time.monotonic() - began
    count("crowds of 2 to 16", rounds=len(rounds), processes=members, killed=killed, seed=seed, seconds=seconds)
