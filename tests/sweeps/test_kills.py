"""A process killed at any file-system call leaves every version whole, and the same command finishes the work."""

from __future__ import annotations

import time

import pytest

from tests.sweeps.operations import OPERATIONS
from tests.sweeps.pool import Pool
from tests.sweeps.shim import Mode
from tests.sweeps.worker import Task
from tests.tally import LONG, Count

POINTS_MIN = 2000
pytestmark = pytest.mark.timeout(300 * LONG)


@pytest.fixture(scope="module")
def swept() -> dict[str, int]:
    """Points by operation, to be summed up at the end."""
    return {}


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_any_call_nothing_is_lost_and_the_same_command_goes_on(
    pool: Pool, swept: dict[str, int], seed: int, count: Count, name: str
) -> None:
    work = OPERATIONS[name]
    began = time.monotonic()
    points = 0
    for turn in range(work.turns * LONG):
        points += killed(pool, name, seed + turn)
    assert points
    swept[name] = points
    count(f"kill -9, {name}", points=points, seed=seed, seconds=time.monotonic() - began)


def killed(pool: Pool, name: str, seed: int) -> int:
    """Kill it at every call; where nothing was killed before, also in the middle of every write."""
    work = OPERATIONS[name]
    points = 0
    for mode in (Mode.KILL,) if work.resumed else (Mode.KILL, Mode.TEAR):
        result = pool.sweep(Task(name, mode, seed=seed, points_max=work.points_max))
        assert not result.failures, "\n".join(result.failures)
        points += result.points
    return points


def test_the_kills_were_many(pool: Pool, swept: dict[str, int], seed: int, count: Count) -> None:
    if set(swept) < set(OPERATIONS):
        pytest.skip("not every operation was swept")
    total, turn = sum(swept.values()), 1000
    # How many calls are left after a first death is chance: go on until there were enough.
    while total < POINTS_MIN * LONG:
        total += killed(pool, "push --force again", seed + turn) + killed(pool, "pull --force again", seed + turn)
        turn += 1
    count("kill -9, all", points=total, seed=seed, seconds=0)
