"""A disk that refuses any call is a typed error; nothing shows by halves, and the same command succeeds once it yields.

A file whose fsync failed never shows at all, neither then nor after another try: its bytes may be gone although the
next fsync says that all is well.
"""

from __future__ import annotations

import errno
import time

import pytest

from tests.sweeps.operations import OPERATIONS
from tests.sweeps.pool import Pool
from tests.sweeps.shim import Mode
from tests.sweeps.worker import Task
from tests.tally import LONG, Count

POINTS_MIN = 3000
EVERYWHERE = (errno.ENOSPC, errno.EIO, errno.EROFS)
SAMPLED = ((Mode.FAIL, errno.EDQUOT, 8), (Mode.FAIL_ON, errno.ENOSPC, 6), (Mode.FAIL_ON, errno.EROFS, 6))
RESUMED_POINTS = 6
"""Of an operation that goes on after a death: its calls are those of the first run."""
pytestmark = pytest.mark.timeout(300 * LONG)


@pytest.fixture(scope="module")
def swept() -> dict[str, int]:
    """Points by operation, to be summed up at the end."""
    return {}


@pytest.mark.parametrize("name", OPERATIONS)
def test_refused_at_any_call_nothing_shows_by_halves_and_the_same_command_goes_on(
    pool: Pool, swept: dict[str, int], seed: int, count: Count, name: str
) -> None:
    work = OPERATIONS[name]
    began = time.monotonic()
    points = 0
    for turn in range(LONG):
        everywhere = min(work.points_max, RESUMED_POINTS * LONG if work.resumed else work.points_max)
        tasks = [Task(name, Mode.FAIL, number, seed=seed + turn, points_max=everywhere) for number in EVERYWHERE]
        for mode, number, points_max in SAMPLED:
            tasks.append(Task(name, mode, number, seed=seed + turn, points_max=min(points_max * LONG, everywhere)))
        for task in tasks:
            result = pool.sweep(task)
            assert not result.failures, "\n".join(result.failures)
            points += result.points
    assert points
    swept[name] = points
    count(f"ENOSPC, EIO, EROFS, EDQUOT, {name}", points=points, seed=seed, seconds=time.monotonic() - began)


def test_the_refusals_were_many(swept: dict[str, int], count: Count) -> None:
    if set(swept) < set(OPERATIONS):
        pytest.skip("not every operation was swept")
    count("ENOSPC, EIO, EROFS, EDQUOT, all", points=sum(swept.values()), seconds=0)
    assert sum(swept.values()) >= POINTS_MIN * (1 if LONG == 1 else LONG * 9 // 10)
