"""After a power cut at any moment what shows is whole, and what was acknowledged is there; on a real ext4."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps import shim
from tests.sweeps.operations import OPERATIONS
from tests.sweeps.pool import ROOT
from tests.tally import LONG, Count, skip_or_fail

CUTS_MIN = 100
SHARE = 0.4
"""Of the stops of an operation; all of them in a long run."""
NEEDED = ("mkfs.ext4", "mount", "umount", "unshare")

Cut = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.timeout(300 * LONG)


@pytest.fixture(scope="module")
def cut(library: Path, memory: Path) -> Iterator[Cut]:
    """Run an operation on an ext4 of its own and cut the power; what `Power.run` returns."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        skip_or_fail(f"power cuts need root and {', '.join(missing) or 'loop mounts'} (scripts/bootstrap)")
    probe = subprocess.run(["unshare", "--mount", "losetup", "--find"], capture_output=True, text=True)
    if probe.returncode:
        skip_or_fail(f"power cuts need loop devices and mounts: {probe.stderr.strip()}")
    process = subprocess.Popen(
        ["unshare", "--mount", sys.executable, "-m", "tests.sweeps.power", memory / "power"],
        cwd=ROOT,
        env=shim.environment(library),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(name: str, **chosen: Any) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"name": name, **chosen}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"the process that cuts the power ended with {process.wait()}"
        return dict(json.loads(line))

    yield run
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def cuts() -> dict[str, int]:
    """Cuts by operation, to be summed up at the end."""
    return {}


CHOSEN = [name for name, work in OPERATIONS.items() if not work.resumed and work.points_max > 100]


@pytest.mark.parametrize("name", CHOSEN)
def test_what_shows_after_a_power_cut_is_whole_and_what_was_acknowledged_is_there(
    cut: Cut, cuts: dict[str, int], seed: int, count: Count, name: str
) -> None:
    began = time.monotonic()
    total = 0
    for turn in range(max(1, LONG // 2)):
        result = cut(name, seed=seed + turn, share=SHARE if LONG == 1 else 1.0)
        assert not result["failures"], "\n".join(result["failures"])
        total += result["cuts"]
    cuts[name] = total
    count(f"power cuts, {name}", points=total, seed=seed, seconds=time.monotonic() - began)


@pytest.mark.parametrize("name", ["create another", "push another", "pull the first"])
def test_on_a_disk_that_does_not_sync_the_power_cuts_do_harm(cut: Cut, name: str) -> None:
    failures = [failure for seed in range(2) for failure in cut(name, seed=seed, share=0.3, syncs=False)["failures"]]
    assert failures


def test_the_power_cuts_were_many(cuts: dict[str, int], count: Count) -> None:
    if set(cuts) < set(CHOSEN):
        pytest.skip("not every operation lost its power")
    count("power cuts, all", points=sum(cuts.values()), seconds=0)
    assert sum(cuts.values()) >= CUTS_MIN * LONG
